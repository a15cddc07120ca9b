"""Slides one after the other, or several at once, each in a process of its own: one that dies takes no other along."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final, Protocol

from workers.core.children.parent_death import die_with_parent
from workers.core.text import printable

MODULE = "workers.segment"
CODE_ROOT: Final = Path(__file__).resolve().parents[2]
LOG: Final = "segment.log"
PAUSE_S = 0.1
PATIENCE_S = 10.0
"""For so long a process that was told to end may take, before it is ended."""

TOLD: Final = "error: "


class Running(Protocol):
    """What is asked of a process."""

    def poll(self) -> int | None:
        """Return its exit status, None while it runs."""

    def terminate(self) -> None:
        """Tell it to end."""

    def kill(self) -> None:
        """End it."""

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit status once it has ended."""


@dataclass(frozen=True, slots=True)
class Task:
    """One slide that is to be segmented.

    Args:
        slide: Its file.
        out: The folder for its results.
        options: Of `ldiffusion segment`, for this slide.
    """

    slide: Path
    out: Path
    options: tuple[str, ...]


def start(task: Task) -> Running:
    """Start the command for one slide; what it says goes into `segment.log` of its folder.

    It is out of reach of Ctrl-C, which is handled here, and does not outlive this process, however that ends.
    """
    task.out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-P", "-m", MODULE, "-o", str(task.out), *task.options, "--", str(task.slide)]
    paths = [str(CODE_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    with (task.out / LOG).open("wb") as log:
        return subprocess.Popen(
            command,
            env=dict(os.environ) | {"PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509 (this process has one thread here)
        )


def run_all(
    tasks: Sequence[Task], jobs: int, began: Callable[[Task], None], ended: Callable[[Task, str], None]
) -> bool:
    """Run tasks, a number of them at once, in order.

    Args:
        tasks: What to run.
        jobs: How many at once.
        began: Told of each before it starts.
        ended: Told of each that ended by itself: why it failed, or nothing if it did not.

    Returns:
        Whether all were run; not so after Ctrl-C or SIGTERM, which end what runs.
    """
    waiting, running = list(reversed(tasks)), dict[Task, Running]()
    with _told_to_end(), ExitStack() as stack:
        stack.callback(_end, running)
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    task = waiting.pop()
                    began(task)
                    running[task] = start(task)
                for task, status in _over(running):
                    del running[task]
                    ended(task, "" if status == 0 else why(task, status))
                if running:
                    time.sleep(PAUSE_S)
        except KeyboardInterrupt:
            return False
    return True


def why(task: Task, status: int) -> str:
    """Return why a process failed: the error that it told, else how it ended."""
    lines = (task.out / LOG).read_text(encoding="utf-8", errors="replace").splitlines()
    told = next((line for line in reversed(lines) if line.startswith(TOLD)), None)
    if told is not None:
        return told.removeprefix(TOLD)
    how = f"ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    return printable(f"{how}, see {task.out / LOG}")


def _over(running: dict[Task, Running]) -> list[tuple[Task, int]]:
    return [(task, status) for task, process in running.items() if (status := process.poll()) is not None]


def _end(running: dict[Task, Running]) -> None:
    """End what runs; the regions that are there stay."""
    for process in running.values():
        process.terminate()
    until = time.monotonic() + PATIENCE_S
    for process in running.values():
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _told_to_end() -> Iterator[None]:
    """Take SIGTERM for Ctrl-C meanwhile."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
