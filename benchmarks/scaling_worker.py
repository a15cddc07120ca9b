"""The worker process of `benchmarks.scaling`: the product's own, but for its model, which takes a time that is known.

`python -m benchmarks.scaling_worker SECONDS [--burn]`: each forward pass sleeps so long, or burns so much CPU time.
"""

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from workers import tasks
from workers.__main__ import work_once
from workers.core.command_line import CONTEXT
from workers.core.model.catalogue import find_model
from workers.core.model.schemas import Precision
from workers.core.queue.jobs import Jobs
from workers.core.queue.leases import Leases
from workers.core.settings import Settings
from workers.core.store import new_id
from workers.core.telemetry.status import WorkerStatus
from workers.process.watchdog import private_bytes

BLOCK = bytes(2**17)
"""What is hashed at a time: outside of the interpreter's lock, as a network computes."""


def burn(seconds: float) -> None:
    """Take so much CPU time of this thread."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        hashlib.sha256(BLOCK).digest()


class TimedSegmenter:
    """Stands for a model whose forward pass takes a time that is known; all it sees is background."""

    def __init__(self, model_dir: Path, seconds: float, *, burns: bool) -> None:
        self.digest = find_model(model_dir.parent, model_dir.name).digest
        self._take = burn if burns else time.sleep
        self._seconds = seconds

    def predict(
        self,
        images: NDArray[np.uint8],
        w_origins: Sequence[tuple[int, int]],  # noqa: ARG002 (as `Segmenter` has it)
        seed: int,  # noqa: ARG002
        precision: Precision,  # noqa: ARG002
    ) -> tuple[NDArray[np.uint8], ...]:
        """Answer for uint8 images (N, H, W, 3) as `Segmenter` says."""
        self._take(self._seconds)
        nothing = np.zeros(images.shape[:3], np.uint8)
        return nothing, nothing


@click.command(context_settings=CONTEXT)
@click.argument("seconds", type=float)
@click.option("--burn", "burns", is_flag=True, help="Burn CPU time instead of sleeping.")
def main(seconds: float, burns: bool) -> None:
    """Run the tasks of LDIFFUSION_REDIS_URL until a signal asks for the end."""
    settings = Settings()
    leases = Leases(Jobs(settings.redis_url, settings), new_id(), WorkerStatus(settings.device, private_bytes))
    runtime = tasks.configure(settings, leases, lambda folder: TimedSegmenter(folder, seconds, burns=burns))
    runtime.readers.start()
    try:
        work_once(settings, leases, lambda _: None, [runtime])
    finally:
        runtime.readers.close()


if __name__ == "__main__":
    main()
