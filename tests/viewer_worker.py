"""A worker whose model knows red and blue, and nothing else: `python tests/viewer_worker.py [HOLD]`.

With HOLD it goes on with the second row of regions only when there is a file of this name.
"""

import hashlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

UInt8 = NDArray[np.uint8]
MARGIN = 60
CONFIDENCE = 200
SECOND_ROW = 256
"""Tiles that begin below this working px, halo and all, are of no region of the first row."""


class ColourNames:
    """Stands for a model: class 1 is what is red, class 2 what is blue."""

    def __init__(self, model_dir: Path, hold: Path | None = None) -> None:
        self.digest = hashlib.sha256((model_dir / "config.json").read_bytes()).hexdigest()
        self._hold = hold

    def predict(self, images: UInt8, w_origins: Sequence[tuple[int, int]], seed: int) -> tuple[UInt8, UInt8]:
        """Answer as `models.predictor.Predictor` does."""
        if self._hold is not None and any(w_y >= SECOND_ROW for _, w_y in w_origins):
            while not self._hold.exists():
                time.sleep(0.05)
        red, blue = images[..., 0].astype(int), images[..., 2].astype(int)
        labels = np.select([red - blue > MARGIN, blue - red > MARGIN], [1, 2]).astype(np.uint8)
        return labels, np.full(labels.shape, CONFIDENCE, np.uint8)


def main() -> int:
    """Run the real worker process with this model."""
    from workers import __main__ as worker
    from workers import tasks

    hold = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    setattr(tasks, "Engine", lambda model_dir, **_: ColourNames(model_dir, hold))  # noqa: B010 (to mypy it is not there)
    return worker.main([])


if __name__ == "__main__":
    sys.exit(main())
