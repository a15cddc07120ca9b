"""Runs a module of ours on an untrusted file in a child process with limits: what goes wrong harms only the child.

`run_confined` is the parent's side, `serve_confined` the child's. The child gets its order as one JSON argument, works
in the folder of the file, which it knows by its bare name, and says one JSON object on stdout. It has limits of memory,
CPU, file size and open files, no environment of ours, no new privileges and no network: see `lock_in`. Where that
cannot be had, it does nothing.
"""

import ctypes
import errno
import json
import logging
import os
import platform
import resource
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import IO, Generic, TypeVar

from pydantic import BaseModel, Field, ValidationError

from workers.core.errors.access import QuotaExceeded
from workers.core.errors.base import DiskFull, LDiffusionError, SlideTooLarge, SlideUnreadable
from workers.core.errors.intake import ArchiveRefused, ConfinementFailed, DeidentifyRefused, SlideSetIncomplete
from workers.core.frozen import Frozen
from workers.core.schemas import ErrorBody
from workers.core.settings import Settings

logger = logging.getLogger(__name__)

OUTPUT_MAX_BYTES = 2**20
MAX_OPEN_FILES = 64

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 1, 38, 22, 2
_SYSCALLS = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
"""Machine → audit number of its calls, `socket`. `socketpair` stays: it leads nowhere, and event loops want one."""

_IO_URING_SETUP = 425
_FOREIGN_CALLS = 0x40000000
_ALLOW, _KILL, _REFUSE = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EPERM
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06

_ERRORS: dict[str, type[LDiffusionError]] = {
    kind.code: kind
    for kind in (
        *(SlideUnreadable, SlideTooLarge, ArchiveRefused, SlideSetIncomplete, DeidentifyRefused),
        *(QuotaExceeded, DiskFull, ConfinementFailed),
    )
}
"""What a child may say of a file."""

T = TypeVar("T", bound=BaseModel)
Order = TypeVar("Order", bound=BaseModel)


class Limits(Frozen):
    """What the child may use."""

    cpu_s: int
    memory_bytes: int
    file_bytes: int = Field(default=OUTPUT_MAX_BYTES, description="Largest file it may write.")


class _Answer(BaseModel, Generic[T]):
    """What the child says: one of the two."""

    report: T | None = None
    error: ErrorBody | None = None


def limits_of(settings: Settings, file_bytes: int = OUTPUT_MAX_BYTES, cpu_s: float = 0) -> Limits:
    """Return the limits of a child by the settings; of one that writes files, with another size and time."""
    return Limits(
        cpu_s=ceil(cpu_s) or settings.probe_cpu_s, memory_bytes=settings.probe_memory_bytes, file_bytes=file_bytes
    )


def run_confined(module: str, order: BaseModel, report: type[T], folder: Path, limits: Limits, timeout_s: float) -> T:
    """Have a module of ours do an order in `folder`.

    Args:
        module: Its dotted name.
        order: What to do; the child's `serve_confined` takes the same type.
        report: Type of what it finds.
        folder: Where the file lies; no message can hold another path of the server.
        limits: What the child may use.
        timeout_s: Wall-clock seconds it may take.

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
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=complaints,
            start_new_session=True,
        )
        try:
            child.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise SlideUnreadable(f"Looking into the slide took more than {timeout_s:g} seconds.") from error
        finally:
            _end(child)
        return _report(child.returncode, output, complaints, report)


def _environment() -> dict[str, str]:
    """Return all that the child may see of our environment: nothing secret, and the same packages."""
    return {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
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
        raise _as_error(answer.error)
    if status != 0 or answer.report is None:
        logger.warning("a child that looks at slides ended with %d: %s", status, _end_of(complaints))
        ending = f"signal {-status}" if status < 0 else f"status {status}"
        raise SlideUnreadable(f"The reader gave up on this file ({ending}): it is damaged, or asks for too much.")
    return answer.report


def _end_of(complaints: IO[bytes]) -> str:
    return complaints.read(OUTPUT_MAX_BYTES)[-2000:].decode(errors="replace")


def _as_error(body: ErrorBody) -> LDiffusionError:
    return _ERRORS.get(body.code, SlideUnreadable)(body.message, value=body.value, accepted=body.accepted)


def serve_confined(arguments: list[str], order: type[Order], work: Callable[[Order], BaseModel]) -> int:
    """Lock this process in, do the order, and say what came of it: the child's `main`.

    Args:
        arguments: Of the command line, as `run_confined` gives them.
        order: Type of the order.
        work: Does it; what it raises of ours is told to the parent.

    Returns:
        The exit status.
    """
    limits, wanted = Limits.model_validate_json(arguments[0]), order.model_validate_json(arguments[1])
    try:
        lock_in(limits)
        answer: dict[str, object] = {"report": work(wanted).model_dump(mode="json")}
    except LDiffusionError as error:
        answer = {"error": error.as_dict()}
    except MemoryError:
        too_much = SlideUnreadable("Reading the slide takes more memory than a probe may have.")
        answer = {"error": too_much.as_dict()}
    sys.stdout.write(json.dumps(answer))
    return 0


def lock_in(limits: Limits) -> None:
    """Give up memory, CPU, files and the network, for good, and end with the parent.

    The network goes twice: into an empty network namespace, where the kernel lets us make one (containers mostly do
    not), and by a filter that refuses the making of sockets, which needs no privilege. One of them must hold.

    Raises:
        ConfinementFailed: Neither does, or the process could still gain privileges.
    """
    for kind, limit in (
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_CPU, limits.cpu_s),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        most = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (most, most))
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # whoever takes the work up again is alone with the files
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise _not_confined("The kernel does not let this process give up new privileges.")
    held = (leave_network(libc), refuse_sockets(libc))  # both are tried
    if not any(held):
        raise _not_confined("The kernel neither gives an empty network namespace nor takes a seccomp filter.")


def _not_confined(reason: str) -> ConfinementFailed:
    return ConfinementFailed(
        f"This server cannot look at slides safely, so it does not. {reason}",
        value=platform.machine(),
        accepted="user namespaces, or seccomp on x86-64 or ARM64: see docs/deploy.md",
    )


def leave_network(libc: ctypes.CDLL) -> bool:
    """Move this process into a network namespace of its own, which is empty; say whether it did."""
    if libc.unshare(_CLONE_NEWNET) == 0:  # needs a privilege …
        return True
    return bool(libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0)  # … which one of its own gives, where allowed


def refuse_sockets(libc: ctypes.CDLL) -> bool:
    """Have the kernel refuse every new socket of this process, for good; say whether it does.

    Not on machines whose calls are not known here, nor on kernels without filters.
    """
    known = _SYSCALLS.get(platform.machine())
    if known is None:
        return False
    audit_number, socket_call = known
    calls = (socket_call, _IO_URING_SETUP)  # io_uring can make sockets too
    steps = [
        (_LOAD, 0, 0, 4),  # how this call is made: that of another machine ends the process
        (_IF_EQUAL, 1, 0, audit_number),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),  # which call it is
        (_IF_AT_LEAST, len(calls) + 1, 0, _FOREIGN_CALLS),
        *((_IF_EQUAL, len(calls) - number, 0, call) for number, call in enumerate(calls)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(code)))
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0) == 0)
