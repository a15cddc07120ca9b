"""A worker whose model is a pure function of a pixel's colour. The tests of the queue run it as a process.

`python tests/colour_worker.py DELAY_S [FATAL_ORIGIN]`: seconds per tile, and the "x,y" of a tile that kills the worker.
Instead of the origin: `hang`, no read of pixels comes back; `hoard`, a tile takes ever more memory.
"""

import hashlib
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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

    def __init__(
        self, model_dir: Path, delay_s: float = 0.0, fatal: tuple[int, int] | None = None, *, hoards: bool = False
    ) -> None:
        self.digest = hashlib.sha256((model_dir / "config.json").read_bytes()).hexdigest()
        self.delay_s = delay_s
        self.fatal = fatal
        self.hoards = hoards
        self.asked: list[tuple[tuple[int, ...], list[tuple[int, int]], int]] = []

    def predict(self, images: UInt8, w_origins: Sequence[tuple[int, int]], seed: int) -> tuple[UInt8, UInt8]:
        """Answer as `models.predictor.Predictor` does."""
        self.asked.append((images.shape, list(w_origins), seed))
        if self.fatal in w_origins:
            os.kill(os.getpid(), signal.SIGKILL)
        hoard = []
        while self.hoards:
            hoard.append(np.ones(2**21))
            time.sleep(0.02)
        time.sleep(self.delay_s)
        return label_of(images), confidence_of(images)


def _hang(slide: Any, level: int, lv_x: int, lv_y: int, width: int, height: int) -> UInt8:
    """Stand for a decoder that never returns, in the thread that reads ahead; elsewhere all is black.

    Leaves a file `hangs` in the folder where it runs.
    """
    while threading.current_thread() is not threading.main_thread():
        Path("hangs").touch()
        time.sleep(3600)
    return np.zeros((height, width, 3), np.uint8)


def main() -> int:
    """Run the real worker process with this model."""
    from workers import __main__ as worker
    from workers import tasks
    from workers.core.slides import reader

    delay_s, fault = float(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""
    fatal = None
    if "," in fault:
        w_x, w_y = fault.split(",")
        fatal = int(w_x), int(w_y)
    if fault == "hang":
        for backend in (reader._OpenSlide, reader._TiffSlide):
            setattr(backend, "_read", _hang)  # noqa: B010 (to mypy it is not there)
    setattr(  # noqa: B010 (to mypy it is not there)
        tasks, "Engine", lambda model_dir, **_: ColourEngine(model_dir, delay_s, fatal, hoards=fault == "hoard")
    )
    return worker.main([])


if __name__ == "__main__":
    sys.exit(main())
