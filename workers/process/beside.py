"""Work beside what the main thread does, in one more thread, that does not outlive the context in which it began.

Only the main thread hears signals. So whoever leaves the context, by an error or because nobody wants the work any
more, has the thread end at its next check, and waits for it.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

from workers.core.checks import Check

T = TypeVar("T")


class Stopped(Exception):
    """Nobody waits for this work any more."""


class Beside:
    """A thread that works beside the main one, as a context."""

    def __init__(self) -> None:
        self._is_over = threading.Event()
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="beside")

    def begin(self, work: Callable[[Check], T]) -> "Future[T]":
        """Begin work, or have it wait for what was begun before.

        Args:
            work: Is given a check that it calls again and again: it raises `Stopped` once the context was left.

        Returns:
            Gives the result, or raises what the work raised, when it is asked for it.
        """
        return self._pool.submit(work, self._check)

    def _check(self) -> None:
        if self._is_over.is_set():
            raise Stopped

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
