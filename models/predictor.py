"""The narrow waist: uint8 tiles and their level origin in, labels and confidence out. Networks never see a file."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models import checkpoint
from models.engine.allocator import keep_freed_memory
from models.engine.device import answers, pick_device
from models.engine.precision import computing, keep_full
from models.folder import ModelClass, ModelSpec, Precision
from models.ldiffusion import LDiffusion, NoiseSource
from models.noise import NoiseField
from models.objects import shallow

# (latent row, latent column, (C, h, w), timestep, device) → (C, h, w)
NoiseDraw = Callable[[int, int, tuple[int, int, int], int, torch.device], Tensor]


class Predictor:
    """A loaded model. Its answer is a function of the pixels, their place in the plane, seed and precision alone."""

    def __init__(self, model: LDiffusion, spec: ModelSpec, digest: str, device: torch.device) -> None:
        self.spec = spec
        self.digest = digest
        self.device = device
        self.model = model.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self._field: NoiseField | None = None

    @classmethod
    def load(cls, folder: Path, device: str = "auto", threads: int | None = None) -> "Predictor":
        """Load a model folder.

        Args:
            folder: Holds `model.safetensors` and `config.json`.
            device: `auto`, `cpu` or `cuda`.
            threads: CPU threads of torch; its own default if not given.

        Raises:
            CheckpointError: The folder is incomplete or altered.
        """
        if threads:
            torch.set_num_threads(threads)
        keep_freed_memory()
        model, spec, digest = checkpoint.load(folder)
        if spec.half is not None:
            keep_full(model, spec.half.full)
        return cls(model, spec, digest, pick_device(device))

    @property
    def is_alive(self) -> bool:
        """Whether the device still computes. One that is lost does not come back within this process."""
        return answers(self.device)

    @property
    def stride_px(self) -> int:
        """Origins and sizes of tiles are multiples of this, in working px."""
        return self.spec.stride_px

    @property
    def halo_px(self) -> int:
        """Context around a core, in working px."""
        return self.spec.halo_px

    @property
    def tile_px(self) -> int:
        """Side of the core of one forward pass, in working px."""
        return self.spec.tile_px

    @property
    def mpp(self) -> float:
        """µm per working px."""
        return self.spec.mpp

    @property
    def classes(self) -> tuple[ModelClass, ...]:
        """Classes, background first."""
        return self.spec.classes

    @torch.inference_mode()
    def logits(
        self,
        images: NDArray[np.uint8],
        w_origins: Sequence[tuple[int, int]],
        seed: int,
        precision: Precision = "float32",
    ) -> Tensor:
        """Run the model.

        Args:
            images: (N, H, W, 3) RGB at the model's mpp, H and W multiples of `stride_px`.
            w_origins: (x, y) of each image's first pixel in the working plane, multiples of `stride_px`; may be
                negative.
            seed: Seed of the noise field.
            precision: What it computes in; `bfloat16` for models that say how (`models.folder.Half`).

        Returns:
            (N, `head_outputs`, H, W) float32 on the model's device: the classes, then the interior map where there is
            one.

        Raises:
            ValueError: A shape or an origin is off the stride grid, or `images` is not uint8 NHWC.
        """
        with computing(precision, self.device):
            logits: Tensor = self.model(*self._inputs(images, w_origins, seed))
        return logits.float()

    @torch.inference_mode()
    def grey_maps(self, images: NDArray[np.uint8], w_origins: Sequence[tuple[int, int]], seed: int) -> Tensor:
        """Return the grey maps that the segmentation network reads, (N, T, H, W) in [−1, 1]; arguments as for `logits`.

        Along T each pixel is its pixel latent vector.
        """
        maps: Tensor = self.model.grey_maps(*self._inputs(images, w_origins, seed))
        return maps

    def predict(
        self,
        images: NDArray[np.uint8],
        w_origins: Sequence[tuple[int, int]],
        seed: int,
        precision: Precision = "float32",
    ) -> tuple[NDArray[np.uint8], ...]:
        """Segment tiles; arguments as for `logits`.

        Returns:
            Class index, confidence (255 × that class's probability, rounded) and, of a model that gives it, the
            interior map (255 × interior, rounded), each (N, H, W) uint8. Small components whose interior is nowhere
            `least_interior` are background (`models.objects.shallow`).
        """
        return self.planes(self.logits(images, w_origins, seed, precision))

    def planes(self, logits: Tensor) -> tuple[NDArray[np.uint8], ...]:
        """Make of what `logits` gives what `predict` gives.

        The labels are the largest of the probabilities as the network gives them; the model's `temperature` divides
        the logits for the confidence alone, so no label depends on it.
        """
        classes, interior = logits.tensor_split([len(self.classes)], dim=1)
        told = classes.softmax(dim=1)
        probability, labels = told.max(dim=1)
        if self.spec.temperature != 1:
            told = (classes / self.spec.temperature).softmax(dim=1)
            probability = told.gather(1, labels[:, None])[:, 0]
        deep = [_uint8(255 * plane) for plane in interior.sigmoid().unbind(dim=1)]
        answer = (_uint8(labels), _uint8(255 * probability), *deep)
        if deep and self.spec.objects.least_interior:
            self._clear_shallow(answer, _uint8(255 * told[:, 0]))
        return answer

    def _clear_shallow(self, answer: tuple[NDArray[np.uint8], ...], background: NDArray[np.uint8]) -> None:
        """Make background, with its probability, of components without a middle; in place."""
        labels, confidence, interior = answer
        for n in range(len(labels)):
            gone = shallow(labels[n], interior[n], self.mpp, self.spec.objects.least_interior)
            labels[n][gone] = 0
            confidence[n][gone] = background[n][gone]

    def _inputs(
        self, images: NDArray[np.uint8], w_origins: Sequence[tuple[int, int]], seed: int
    ) -> tuple[Tensor, NoiseSource, NoiseSource]:
        """Return x, and the noise and the uniforms of its place."""
        self._check(images, w_origins)
        if self._field is None or self._field.seed != seed:
            self._field = NoiseField(self.model.config.schedule.law, seed)
        x = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2).float() / 127.5 - 1
        x = x.contiguous(memory_format=torch.channels_last)
        noise = self._source(self._field.draw, images.shape[1:3], w_origins)
        return x, noise, self._source(self._field.uniforms, images.shape[1:3], w_origins)

    def _check(self, images: NDArray[np.uint8], w_origins: Sequence[tuple[int, int]]) -> None:
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            raise ValueError(f"images must be uint8 (N, H, W, 3), got {images.dtype} {images.shape}")
        if len(w_origins) != len(images):
            raise ValueError(f"{len(images)} images need as many origins, got {len(w_origins)}")
        stride = self.stride_px
        off = [n for n in (*images.shape[1:3], *(v for origin in w_origins for v in origin)) if n % stride]
        if off:
            raise ValueError(f"sizes and origins must be multiples of {stride} working px, got {off[0]}")

    def _source(self, draw: NoiseDraw, size: tuple[int, ...], w_origins: Sequence[tuple[int, int]]) -> NoiseSource:
        channels, f = self.model.config.latent_grid
        shape = (channels, size[0] // f, size[1] // f)

        def at(t: int) -> Tensor:
            boxes = [draw(y // f, x // f, shape, t, self.device) for x, y in w_origins]
            return torch.stack(boxes).contiguous(memory_format=torch.channels_last)

        return at


def _uint8(plane: Tensor) -> NDArray[np.uint8]:
    rounded: NDArray[np.uint8] = plane.round().to(torch.uint8).cpu().numpy()
    return rounded
