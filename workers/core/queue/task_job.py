"""A queue entry that can do no harm, whoever wrote it into Redis."""

from collections.abc import Callable
from typing import Any

from rq.job import Job

from workers.core.queue.keys import TASK_FUNCTIONS


class TaskRefused(Exception):
    """The queue held something that is none of our tasks."""


class TaskJob(Job):
    """Runs one of our tasks or nothing; its callbacks and web hooks are none."""

    @property
    def func(self) -> Callable[..., Any] | None:
        """The function to run, imported only if it is on the list."""
        if self.func_name not in TASK_FUNCTIONS or self.instance is not None:
            raise TaskRefused(f"{self.func_name!r} is not on the list of tasks")
        function: Callable[..., Any] | None = super().func
        return function

    @property
    def success_callback(self) -> None:
        """None: a name in Redis is no reason to import it."""
        return

    @property
    def failure_callback(self) -> None:
        """None, for the same reason."""
        return

    @property
    def stopped_callback(self) -> None:
        """None, for the same reason."""
        return

    def send_webhooks(self, *args: Any, **kwargs: Any) -> None:
        """Send nothing: an address in Redis is no reason to call it."""
