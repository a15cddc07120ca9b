"""A worker whose model knows red and blue, and nothing else: `python tests/viewer_worker.py`."""

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

UInt8 = NDArray[np.uint8]
MARGIN = 60
CONFIDENCE = 200


class ColourNames:
    """Stands for a model: class 1 is what is red, class 2 what is blue."""

    def __init__(self, model_dir: Path) -> None:
        self.digest = hashlib.sha256((model_dir / "config.json").read_bytes()).hexdigest()

    def predict(self, images: UInt8, w_origins: Sequence[tuple[int, int]], seed: int) -> tuple[UInt8, UInt8]:
        """Answer as `models.predictor.Predictor` does."""
        red, blue = images[..., 0].astype(int), images[..., 2].astype(int)
        labels = np.select([red - blue > MARGIN, blue - red > MARGIN], [1, 2]).astype(np.uint8)
        return labels, np.full(labels.shape, CONFIDENCE, np.uint8)


def main() -> int:
    """Run the real worker process with this model."""
    from workers import __main__ as worker
    from workers import tasks

    setattr(tasks, "Engine", lambda model_dir, **_: ColourNames(model_dir))  # noqa: B010 (to mypy it is not there)
    return worker.main([])


if __name__ == "__main__":
    sys.exit(main())
