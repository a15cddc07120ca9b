"""Watchdog: ends this process when its task cannot be ended in any other way; whatever supervises it starts a new one.

A decoder that never returns hears no signal, and nobody can take memory from a task that takes ever more of it: the one
leaves a worker that shows signs of life and does nothing, the other is killed and nobody says why. So a thread looks at
how long a read of the slide stands still, how much memory the process holds, and whether a task that had to end has.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from workers.core.disk_room import storage_error
from workers.core.errors.base import DiskFull, JobCanceled, JobLost, LDiffusionError, QueueUnavailable
from workers.core.errors.jobs import OutOfMemory, SlideReadTimeout
from workers.core.slides.read_watchdog import stalled_read_s

LOOK_S = 0.25
OBEY_S = 8.0
"""How long a task that is no longer wanted, or past its time, may take to end."""

TELL_S = 10.0
"""How long the queue and the data folder may take to hear of it: either may be what hangs."""

EXIT_STATUS = 70
"""Of a process that ended itself (EX_SOFTWARE of sysexits.h)."""

STATM = Path("/proc/self/statm")
MIB = 2**20

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one task may take.

    Args:
        memory_bytes: Memory of the whole process.
        read_s: Seconds of a single read of a slide.
        task_s: Seconds of the task. RQ raises an exception then; the watchdog waits `OBEY_S` for it to have an effect.
    """

    memory_bytes: int
    read_s: float
    task_s: float


class Watchdog:
    """Watches over the process while it runs one task, as a context.

    Args:
        limits: Of the task.
        tell: Called before the process ends, in a thread, with why; `JobCanceled`: the task was not wanted any more.
    """

    def __init__(self, limits: Limits, tell: Callable[[LDiffusionError], None]) -> None:
        self._limits = limits
        self._tell = tell
        self._allowed_s = limits.task_s
        self._task_deadline = self._deadline = time.monotonic() + limits.task_s + OBEY_S
        self._is_unwanted = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def allow(self, seconds: float) -> None:
        """Give what begins now so many seconds, and no more than is left of the whole task."""
        if not self._is_unwanted:
            self._allowed_s = seconds
            self._deadline = min(self._task_deadline, time.monotonic() + seconds + OBEY_S)

    def hurry(self) -> None:
        """Say that the task is no longer wanted: it has `OBEY_S` to end."""
        if not self._is_unwanted:
            self._is_unwanted = True
            self._deadline = min(self._deadline, time.monotonic() + OBEY_S)

    def fault(self) -> LDiffusionError | None:
        """Return why the process must end now; None if it need not."""
        used, limits = private_bytes(), self._limits
        if used > limits.memory_bytes:
            return out_of_memory(f"{used // MIB} MiB", f"at most {limits.memory_bytes // MIB} MiB")
        if stalled_read_s() > limits.read_s:
            return SlideReadTimeout(
                "Reading the slide stood still; the file may be damaged, or its disk does not answer.",
                value=f"longer than {limits.read_s:g} s",
            )
        if time.monotonic() < self._deadline:
            return None
        if self._is_unwanted:
            return JobCanceled("The task did not end when it was no longer wanted.")
        return JobLost(f"A part of the job took longer than {self._allowed_s:g} s each time it ran.")

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_S):
            if (error := self.fault()) is not None:
                logger.error("this process ends itself: %s: %s", error.code, error.message)
                telling = threading.Thread(target=self._tell_queue, args=(error,), daemon=True)
                telling.start()
                telling.join(TELL_S)
                end_process()
                return

    def _tell_queue(self, error: LDiffusionError) -> None:
        try:
            self._tell(error)
        except QueueUnavailable as silence:  # the reaper will find the task all the same
            logger.warning("the queue does not hear of it: %s", silence)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()


def out_of_memory(value: str | None = None, accepted: str | None = None) -> OutOfMemory:
    """Return the error of a task that took too much memory."""
    message = "A worker has too little memory for this job; smaller regions (region_px) or a smaller model need less."
    return OutOfMemory(message, value=value, accepted=accepted)


def lacking(error: Exception) -> LDiffusionError | None:
    """Return the error of ours for what this machine has too little of: disk or memory; None for any other fault."""
    if isinstance(error, MemoryError):
        return out_of_memory()
    known = storage_error(error)
    return known if isinstance(known, DiskFull) else None


def private_bytes() -> int:
    """Return the memory of this process that no file backs, the kernel's cache left out; 0 where it cannot be known."""
    try:
        _, resident, shared = STATM.read_text().split()[:3]
    except OSError:  # no Linux
        return 0
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


def end_process() -> None:
    """End at once: no thread is waited for, nothing is cleaned up."""
    logging.shutdown()
    os._exit(EXIT_STATUS)
