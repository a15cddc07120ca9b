"""Runs a module of ours on an untrusted file in a child process with limits: what goes wrong harms only the child.

`run_confined` is the parent's side, `serve_confined` the child's. The child gets its order as one JSON argument, works
in the folder of the file, which it knows by its bare name, and says one JSON object on stdout. It has limits of memory,
CPU, file size and open files, no environment of ours, no new privileges, no network, no other processes and, where the
kernel can, no other files: see `workers.core.confinement.lock`. Where that cannot be had, it does nothing.
"""

import json
import logging
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from math import ceil
from pathlib import Path
from typing import IO, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from workers.core.children.priority import queued_s, step_back
from workers.core.children.told import told_error
from workers.core.confinement.environment import child_environment
from workers.core.confinement.lock import OUTPUT_MAX_BYTES, RULES, Limits, lock_in
from workers.core.errors.access import QuotaExceeded
from workers.core.errors.base import DiskFull, LDiffusionError, SlideTooLarge, SlideUnreadable
from workers.core.errors.intake import ArchiveRefused, ConfinementFailed, DeidentifyRefused, SlideSetIncomplete
from workers.core.schemas import ErrorBody
from workers.core.settings import Settings
from workers.core.telemetry.logs import Private

logger = logging.getLogger(__name__)

_ERRORS: tuple[type[LDiffusionError], ...] = (
    *(SlideUnreadable, SlideTooLarge, ArchiveRefused, SlideSetIncomplete, DeidentifyRefused),
    *(QuotaExceeded, DiskFull, ConfinementFailed),
)
"""What a child may say of a file."""

BUSY_FACTOR = 5
"""A child that waits for a processor most of the time ends after so many times what it may take."""

OUT_OF_TIME = (-signal.SIGXCPU, -signal.SIGKILL)
"""How a child ends that takes more CPU than it may."""

T = TypeVar("T", bound=BaseModel)
Order = TypeVar("Order", bound=BaseModel)


class _Answer(BaseModel, Generic[T]):
    """What the child says: a report, or an error, and whether that is for want of memory."""

    report: T | None = None
    error: ErrorBody | None = None
    lacks_memory: bool = False


def limits_of(settings: Settings, file_bytes: int = 0, cpu_s: float = 0) -> Limits:
    """Return the limits of a child by the settings; of one that writes files, with another size and time."""
    return Limits(
        cpu_s=ceil(cpu_s) or settings.probe_cpu_s,
        memory_bytes=settings.probe_memory_bytes,
        file_bytes=file_bytes or OUTPUT_MAX_BYTES,
        may_write=file_bytes > 0,
        bare_root=settings.confine_bare_root,
    )


def may_lack_memory(error: LDiffusionError) -> bool:
    """Whether a child that `run_confined` tells of had too little memory, or crashed, which may come of that."""
    return isinstance(error.__cause__, MemoryError)


def run_confined(module: str, order: BaseModel, report: type[T], folder: Path, limits: Limits, timeout_s: float) -> T:
    """Have a module of ours do an order in `folder`.

    Args:
        module: Its dotted name.
        order: What to do; the child's `serve_confined` takes the same type.
        report: Type of what it finds.
        folder: Where the file lies; no message can hold another path of the server.
        limits: What the child may use.
        timeout_s: Wall-clock seconds it may take, without those for which others have the processor.

    Raises:
        Invalid: The file is refused, in the child's words.
        QuotaExceeded, DiskFull: The child found no room for what it writes.
        ConfinementFailed: This system does not let the child lock itself in; it looked at nothing.
        SlideUnreadable: The child crashed, or ran out of time or memory.
    """
    command = [sys.executable, "-P", "-m", module, limits.model_dump_json(), order.model_dump_json()]
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as complaints:
        child = subprocess.Popen(
            command,
            cwd=folder,
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=complaints,
            start_new_session=True,
        )
        step_back(child.pid)
        try:
            if not _has_ended(child, timeout_s):
                raise SlideUnreadable(f"Looking into the slide took more than {timeout_s:g} seconds.")
        finally:
            _end(child)
        return _report(child.returncode, output, complaints, report)


def _has_ended(child: subprocess.Popen[bytes], timeout_s: float) -> bool:
    """Wait for a child to end, and leave it as it is then: while it is there, its group is nobody else's.

    What it waits for a processor that others have is not counted: a busy machine is not the file's fault.
    """
    file = os.pidfd_open(child.pid)
    started, left_s = time.monotonic(), timeout_s
    try:
        watch = select.poll()
        watch.register(file, select.POLLIN)
        while left_s > 0:
            if watch.poll(ceil(left_s * 1000)):
                return True
            allowed_s = min(timeout_s + queued_s(child.pid), BUSY_FACTOR * timeout_s)
            left_s = started + allowed_s - time.monotonic()
        return False
    finally:
        os.close(file)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a child and whatever it may have started."""
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _report(status: int, output: IO[bytes], complaints: IO[bytes], report: type[T]) -> T:
    output.seek(0)
    complaints.seek(0)
    answer: _Answer[T] = _Answer()
    try:
        answer = _Answer[report].model_validate_json(output.read(OUTPUT_MAX_BYTES))  # type: ignore[valid-type]
    except ValidationError:
        logger.warning("a child that looks at slides said nothing that can be understood")
    if answer.error is not None:
        raise told_error(answer.error, _ERRORS) from (MemoryError() if answer.lacks_memory else None)
    if status != 0 or answer.report is None:
        logger.warning("a child that looks at slides ended with %d: %s", status, Private(_end_of(complaints)))
        ending = f"signal {-status}" if status < 0 else f"status {status}"
        refusal = SlideUnreadable(f"The reader gave up on this file ({ending}): it is damaged, or asks for too much.")
        raise refusal from (None if status in OUT_OF_TIME else MemoryError())
    return answer.report


def _end_of(complaints: IO[bytes]) -> str:
    return complaints.read(OUTPUT_MAX_BYTES)[-2000:].decode(errors="replace")


def serve_confined(
    arguments: list[str], order: type[Order], work: Callable[[Order], BaseModel], rules: AbstractSet[str] = RULES
) -> int:
    """Lock this process in, do the order, and say what came of it: the child's `main`.

    Args:
        arguments: Of the command line, as `run_confined` gives them.
        order: Type of the order.
        work: Does it; what it raises of ours is told to the parent.
        rules: What is given up; all of it but in tests.

    Returns:
        The exit status.
    """
    limits, wanted = Limits.model_validate_json(arguments[0]), order.model_validate_json(arguments[1])
    try:
        lock_in(limits, rules=rules)
        answer: dict[str, object] = {"report": work(wanted).model_dump(mode="json")}
    except LDiffusionError as error:
        answer = {"error": error.as_dict()}
    except MemoryError:
        too_much = SlideUnreadable("Reading the slide takes more memory than a probe may have.")
        answer = {"error": too_much.as_dict(), "lacks_memory": True}
    sys.stdout.write(json.dumps(answer))
    return 0
