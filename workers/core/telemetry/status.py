"""How a worker process is: told with each sign of life, so that whoever asks the queue sees all of them."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from pydantic import Field

from workers.core.frozen import Frozen
from workers.core.telemetry.tallies import ALIVE_SECONDS, BUSY_SECONDS, STARTS, TALLIES

SHARE_S = 60.0
"""What the busy share is of."""


class WorkerState(Frozen):
    """A worker as it was at its last sign of life."""

    model: str | None = Field(default=None, description="The model in its memory.")
    device: str = Field(description="Where models run: `cpu`, `cuda:0`; as it is set until a model was loaded.")
    busy_share: float = Field(description="Share of the last minute in which it had a task.")
    memory_bytes: int = Field(description="Memory of the process that no file backs.")
    memory_max_bytes: int = Field(description="What it may take.")
    since: datetime = Field(description="When it was ready for tasks.")


class WorkerStatus:
    """What the process knows of itself. For any thread.

    Args:
        device: As it is set.
        memory: Returns the memory that the process has, in bytes.
        clock: Seconds; never goes back.
    """

    def __init__(
        self, device: str, memory: Callable[[], int] = lambda: 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._device = device
        self._model: str | None = None
        self._memory = memory
        self._clock = clock
        self._since = datetime.now(UTC)
        self._lock = threading.Lock()
        self._busy_s = 0.0
        self._busy_from: float | None = None
        self._looks = deque([(clock(), 0.0)])
        self._counted = self._looks[0]
        TALLIES.add(STARTS)

    @property
    def has_gpu(self) -> bool:
        """Whether models run on a GPU; not known before one was loaded, unless it is set so."""
        return self._device.startswith("cuda")

    @property
    def model(self) -> str | None:
        """The model in memory."""
        return self._model

    def holds(self, model: str, device: str) -> None:
        """Say which model is in memory now, and where."""
        self._model, self._device = model, device

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Have a task while the context lasts."""
        with self._lock:
            self._busy_from = self._clock()
        try:
            yield
        finally:
            with self._lock:
                self._busy_s, self._busy_from = self._busy_until(self._clock()), None

    def count_time(self) -> None:
        """Add the time since the last call, and what of it was busy, to the counts."""
        with self._lock:
            now = self._clock()
            look = now, self._busy_until(now)
            before, self._counted = self._counted, look
        TALLIES.add(ALIVE_SECONDS, by=look[0] - before[0])
        TALLIES.add(BUSY_SECONDS, by=look[1] - before[1])

    def view(self, memory_max_bytes: int) -> WorkerState:
        """Return what is told of the process now."""
        with self._lock:
            now = self._clock()
            self._looks.append((now, self._busy_until(now)))
            while len(self._looks) > 2 and self._looks[1][0] <= now - SHARE_S:
                self._looks.popleft()
            (then, busy_then), (_, busy_now) = self._looks[0], self._looks[-1]
        return WorkerState(
            model=self._model,
            device=self._device,
            busy_share=round((busy_now - busy_then) / (now - then), 3) if now > then else 0.0,
            memory_bytes=self._memory(),
            memory_max_bytes=memory_max_bytes,
            since=self._since,
        )

    def _busy_until(self, now: float) -> float:
        return self._busy_s + (0.0 if self._busy_from is None else now - self._busy_from)
