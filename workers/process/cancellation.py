"""Ends what a worker computes soon after nobody wants it any more, also in the middle of a long computation.

A thread asks every `WATCH_S` whether the work is still wanted. If not, a signal makes the main thread raise the reason,
but only inside `interruptible()`: around what merely computes or writes files. Exchanges with the queue are never cut
in two, for an answer left unread would be taken for that of the next question.
"""

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

from workers.core.errors.base import JobCanceled, QueueUnavailable
from workers.core.queue.lease import Superseded

WATCH_S = 1.0

logger = logging.getLogger(__name__)


class Watch:
    """Watches over one task, as a context.

    Args:
        check: Returns if the work is still wanted, else raises JobCanceled or Superseded.
        every_s: Seconds between two looks.
        hurry: Called when it is no longer wanted.
    """

    def __init__(
        self, check: Callable[[], None], every_s: float = WATCH_S, hurry: Callable[[], None] = lambda: None
    ) -> None:
        self._check = check
        self._hurry = hurry
        self._every_s = every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)
        self._owner = threading.get_ident()
        self._may_raise = False
        self._reason: JobCanceled | Superseded | None = None

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let the reason be raised inside this context."""
        self._may_raise = True
        try:
            self.raise_reason()
            yield
        finally:
            self._may_raise = False

    def raise_reason(self) -> None:
        """Raise why the work is no longer wanted, if that is known and this is a place for it."""
        if self._may_raise and self._reason is not None:
            raise self._reason

    def _look(self) -> None:
        while not self._ended.wait(self._every_s):
            try:
                self._check()
            except (JobCanceled, Superseded) as reason:
                self._reason = reason
                self._hurry()
                # again at the next look: an exception in a destructor or a callback of C code is lost
                signal.pthread_kill(self._owner, signal.SIGUSR2)
            except QueueUnavailable as error:
                logger.warning("whether the work is still wanted is not known: %s", error)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # others get no signals
            signal.signal(signal.SIGUSR2, _on_signal)  # stays: a late one must find it
            _watches.append(self)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self in _watches:
            self._thread.join()
            _watches.remove(self)


_watches: list[Watch] = []


@contextmanager
def interruptible() -> Iterator[None]:
    """Let the work inside be ended when nobody wants it any more. Without a watch this does nothing.

    Raises:
        JobCanceled, Superseded: It is no longer wanted.
    """
    if not _watches or threading.current_thread() is not threading.main_thread():
        yield
        return
    with _watches[-1].interruptible():
        yield


def _on_signal(_number: int, _frame: FrameType | None) -> None:
    if _watches:
        _watches[-1].raise_reason()
