"""A worker whose model is a pure function of a pixel's colour. The tests of the queue run it as a process.

`python tests/colour_worker.py DELAY_S [FATAL_ORIGIN]`: seconds per tile, and the "x,y" of a tile that kills the worker.
"""

import hashlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

UInt8 = NDArray[np.uint8]


def label_of(pixels: UInt8) -> UInt8:
    """Return class 0 or 1 of uint8 (..., 3)."""
    labels: UInt8 = (pixels.astype(np.uint16).sum(axis=-1) // 64 % 2).astype(np.uint8)
    return labels


def confidence_of(pixels: UInt8) -> UInt8:
    """Return the confidence of uint8 (..., 3): its green."""
    return pixels[..., 1].copy()


class ColourEngine:
    """Stands for a model; remembers what it was asked."""

    def __init__(self, model_dir: Path, delay_s: float = 0.0, fatal: tuple[int, int] | None = None) -> None:
        self.digest = hashlib.sha256((model_dir / "config.json").read_bytes()).hexdigest()
        self.delay_s = delay_s
        self.fatal = fatal
        self.asked: list[tuple[tuple[int, ...], list[tuple[int, int]], int]] = []

    def predict(self, images: UInt8, w_origins: Sequence[tuple[int, int]], seed: int) -> tuple[UInt8, UInt8]:
        """Answer as `models.predictor.Predictor` does."""
        self.asked.append((images.shape, list(w_origins), seed))
        if self.fatal in w_origins:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.delay_s)
        return label_of(images), confidence_of(images)


def main() -> int:
    """Run the real worker process with this model."""
    from workers import __main__ as worker
    from workers import tasks

    delay_s = float(sys.argv[1])
    fatal = None
    if len(sys.argv) > 2:
        w_x, w_y = sys.argv[2].split(",")
        fatal = int(w_x), int(w_y)
    setattr(tasks, "Engine", lambda model_dir, **_: ColourEngine(model_dir, delay_s, fatal))  # noqa: B010 (to mypy it is not there)
    return worker.main([])


if __name__ == "__main__":
    sys.exit(main())
