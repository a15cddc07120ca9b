"""What evaluation asks of whoever labels images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.folder import ModelClass
from models.training.evaluation.splitting import Numbers


@dataclass(frozen=True)
class Answer:
    """One labelled image.

    Attributes:
        labels: (H, W) class index.
        objects: (H, W) numbers of the objects, 0 where there is none; None from who does not tell objects apart.
    """

    labels: NDArray[np.uint8]
    objects: Numbers | None = None


class Segmenter(Protocol):
    """Whatever labels an image: L-Diffusion, or a network on RGB. All are evaluated through this."""

    @property
    def mpp(self) -> float:
        """µm per px of the images it takes."""

    @property
    def classes(self) -> Sequence[ModelClass]:
        """Its classes, background first."""

    def __call__(self, image: NDArray[np.uint8], /) -> Answer:
        """Label one image (H, W, 3) RGB of any size at `mpp`."""
