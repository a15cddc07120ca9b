"""A worker's pulse, and its sweeps beside it: however long a sweep takes, the worker is not thought dead."""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from workers.core.errors.base import QueueUnavailable
from workers.core.queue.leases import Leases
from workers.core.queue.reaper import Reaper

SCRATCH_S = 3600.0
"""Between two looks at what this host keeps."""

logger = logging.getLogger(__name__)


class Heartbeat:
    """Shows signs of life for a worker and sweeps, every `heartbeat_s`, until the context ends.

    Args:
        leases: The worker's.
    """

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self._reaper = Reaper(leases.jobs)
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._keep, args=(leases.beat,), name="heartbeat", daemon=True),
            threading.Thread(target=self._keep, args=(self._sweep,), name="sweep", daemon=True),
        ]
        self._tended_at = -SCRATCH_S

    def _sweep(self) -> None:
        """Sweep the queue, and now and then what this host keeps of what is elsewhere: each host has its own."""
        self._reaper.sweep()
        if time.monotonic() - self._tended_at >= SCRATCH_S:
            self._tended_at = time.monotonic()
            self._leases.jobs.ends.tend_scratch()

    def _keep(self, act: Callable[[], object]) -> None:
        """Act until told to end. A fault of ours asks the process to stop: a worker without a pulse is dead."""
        try:
            while not self._ended.wait(self._leases.jobs.settings.heartbeat_s):
                try:
                    act()
                except (QueueUnavailable, OSError) as error:
                    logger.warning("no sign of life or no sweep this time: %s", error)
        finally:
            if not self._ended.is_set():
                os.kill(os.getpid(), signal.SIGTERM)

    def __enter__(self) -> Self:
        self._leases.beat()
        beating, sweeping = self._threads
        beating.start()
        try:
            self._reaper.sweep()
        except QueueUnavailable:
            self._ended.set()
            raise
        sweeping.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._leases.retire()
