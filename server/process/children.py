"""How this project starts its own modules as processes: same interpreter, same code, settings in the environment.

And starts them again: a child that ends is mended, one that never comes as far as its work is given up.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from pydantic import SecretStr

from workers.core.children.parent_death import die_with_parent
from workers.core.errors.base import Unavailable
from workers.core.settings import Settings

CODE_ROOT = Path(__file__).resolve().parents[2]

STEADY_S = 60.0
"""A child that lived this long is counted as sound: its next crash is its first."""

BACKOFF_S = 0.5
BACKOFF_MAX_S = 30.0
CRASHES_MAX = 6
ID_CHARACTERS = 32
IDS_BYTES = 65536
"""What a pipe holds: far more ids than a worker can have had."""

logger = logging.getLogger(__name__)


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command line of a module of ours. `-P`: a `workers` folder where the user stands is not ours."""
    return [sys.executable, "-P", "-m", module, *arguments]


def module_environment(settings: Settings | None = None) -> dict[str, str]:
    """Return the environment of a module of ours: this one, our code first, and these settings."""
    environment = dict(os.environ)
    paths = [str(CODE_ROOT), *filter(None, [environment.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    for name in Settings.model_fields if settings else ():
        value = getattr(settings, name)
        told = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        environment[f"LDIFFUSION_{name.upper()}"] = told
    return environment


class Child:
    """One supervised process: started, and started again with growing pauses when it ends by itself.

    One that ended after it had told of a task is sound: the task was at fault, and the queue counts the tries of tasks.
    Once that happened, or it was proved in another way, the installation works, and the child is never given up.

    Args:
        name: For people.
        command: Program and arguments.
        environment: Of the process.
        fds: Descriptors that it inherits.
        on_end: For a child that takes `--tell-fd`, a descriptor for its id once it has begun with its work: called with
            that id and the exit status when it has ended by itself; for each id, if it had several.
    """

    def __init__(
        self,
        name: str,
        command: list[str],
        environment: dict[str, str],
        fds: tuple[int, ...] = (),
        *,
        on_end: Callable[[str, int], None] | None = None,
    ) -> None:
        self.name = name
        self.process: subprocess.Popen[bytes] | None = None
        self.crashes = 0
        self._command = command
        self._environment = environment
        self._fds = fds
        self._on_end = on_end
        self._told: int | None = None
        self._has_worked = False
        self._started_at = 0.0
        self._start_at = 0.0

    def prove(self) -> None:
        """Count the installation as sound: from now on this child is started again however often it ends."""
        self._has_worked = True

    @property
    def started_at(self) -> float:
        """When the process was started, monotonic, seconds."""
        return self._started_at

    def tend(self, now: float) -> None:
        """Start the process if it is not running and its pause is over; note it if it has crashed.

        Raises:
            Unavailable: It crashed too often in a row, and never came as far as its work.
        """
        if self.process is None:
            if now >= self._start_at:
                self._start(now)
            return
        status = self.process.poll()
        if status is None:
            return
        self.process = None
        child_ids = self._read_told()
        self._has_worked |= bool(child_ids)
        if self._on_end is not None:
            for child_id in child_ids:
                self._on_end(child_id, status)
        is_sound = bool(child_ids) or now - self._started_at > STEADY_S
        self.crashes = 1 if is_sound else self.crashes + 1
        if self.crashes >= CRASHES_MAX and not self._has_worked:
            raise Unavailable(f"The {self.name} ended {self.crashes} times in a row, last with status {status}.")
        pause = min(BACKOFF_S * 2 ** (self.crashes - 1), BACKOFF_MAX_S)
        self._start_at = now + pause
        logger.warning("%s ended with status %s; it is started again in %.1f s", self.name, status, pause)

    def _start(self, now: float) -> None:
        with ExitStack() as stack:
            command, fds = self._command, self._fds
            if self._on_end is not None:
                self._told, write_end = os.pipe()
                stack.callback(os.close, write_end)
                command, fds = [*command, "--tell-fd", str(write_end)], (*fds, write_end)
            self.process = self._popen(command, fds)
        self._started_at = now

    def _read_told(self) -> list[str]:
        """Return the ids that the process that has ended told, none if it did not come so far."""
        if self._told is None:
            return []
        told, self._told = self._told, None
        text = ""
        try:
            with suppress(BlockingIOError):
                os.set_blocking(told, False)  # should anything else still hold the other end
                text = os.read(told, IDS_BYTES).decode(errors="replace")
        finally:
            os.close(told)
        return [text[start : start + ID_CHARACTERS] for start in range(0, len(text), ID_CHARACTERS)]

    def _popen(self, command: list[str], fds: tuple[int, ...]) -> "subprocess.Popen[bytes]":
        # A session of its own: Ctrl-C in a terminal reaches the supervisor alone, which then stops all in order.
        return subprocess.Popen(
            command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            pass_fds=fds,
            start_new_session=True,
            preexec_fn=die_with_parent(),  # noqa: PLW1509 - started from the only thread
        )
