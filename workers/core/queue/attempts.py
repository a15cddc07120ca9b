"""Tries of a task: how many there may be, how many there were, and the error when they are used up.

A try is counted when it begins, so one that killed its worker counts too. RQ counts besides how often an entry of its
queue raised: that bounds what fails before a try could begin.
"""

from workers.core.errors.base import JobLost
from workers.core.queue.exchange import Transaction
from workers.core.queue.keys import JobKeys, Task
from workers.core.settings import Settings


def attempts_max(settings: Settings) -> int:
    """Return how often a task, or the making of a product, may be begun."""
    return settings.task_retries + 1


def attempts_of(pipe: Transaction, task: Task) -> int:
    """Return how often a task of a job was begun, as a transaction sees it that watches `JobKeys.attempts`."""
    return int(pipe.hget(JobKeys(task.job_id).attempts, task.name) or 0)


def lost(task: Task, attempts: int, signal_name: str | None = None) -> JobLost:
    """Return the error of a task that no worker brought to an end; the last one was ended by this signal, if known."""
    how = "" if signal_name is None else f", the last one by {signal_name}"
    hint = " (a system that has no memory left does that)" if signal_name == "SIGKILL" else ""
    message = f"A worker died, or failed, each of the {attempts} times it ran a part of this job{how}{hint}."
    return JobLost(message, value=task.name, accepted="a new job, after a look into the log of the workers")
