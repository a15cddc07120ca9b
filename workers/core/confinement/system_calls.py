"""A seccomp filter, made by hand: which system calls the kernel refuses a confined process, for good.

It needs no privilege, works in containers, and is a program for the kernel's packet filter: a list of steps that look
at the number of a call and at its first argument. On machines whose calls are not known here there is none.
"""

import ctypes
import errno
import platform
import struct
from collections.abc import Iterable
from typing import NamedTuple

NETWORK, OTHERS, PROCESSES, PROGRAMS, SIGNALS, SYSTEM = (
    "network",
    "others",
    "processes",
    "programs",
    "signals",
    "system",
)
CALL_RULES = frozenset({NETWORK, OTHERS, PROCESSES, PROGRAMS, SIGNALS, SYSTEM})
"""Names of the groups of calls that can be refused."""

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_FOREIGN_CALLS = 0x40000000
"""Numbers from here on are those of another way to call on x86-64."""

_CLONE_THREAD = 0x10000
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000
_REFUSE, _UNKNOWN = _ERROR | errno.EPERM, _ERROR | errno.ENOSYS
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _IF_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_AT_CALL, _AT_ARCHITECTURE, _AT_FIRST_ARGUMENT = 0, 4, 16

Step = tuple[int, int, int, int]
"""Code, how many steps to skip if true, if false, operand."""


class _Call(NamedTuple):
    """A call's rule and its numbers; None where the machine has no such call."""

    rule: str
    x86_64: int | None
    aarch64: int | None


_REFUSED = {
    "socket": _Call(NETWORK, 41, 198),  # `socketpair` stays: it leads nowhere, and event loops want one
    "io_uring_setup": _Call(NETWORK, 425, 425),  # makes sockets too
    "ptrace": _Call(OTHERS, 101, 117),
    "process_vm_readv": _Call(OTHERS, 310, 270),
    "process_vm_writev": _Call(OTHERS, 311, 271),
    "process_madvise": _Call(OTHERS, 440, 440),
    "pidfd_open": _Call(OTHERS, 434, 434),
    "pidfd_getfd": _Call(OTHERS, 438, 438),
    "kcmp": _Call(OTHERS, 312, 272),
    "setpriority": _Call(OTHERS, 141, 140),
    "sched_setscheduler": _Call(OTHERS, 144, 119),
    "sched_setattr": _Call(OTHERS, 314, 274),
    "ioprio_set": _Call(OTHERS, 251, 30),
    "fork": _Call(PROCESSES, 57, None),
    "vfork": _Call(PROCESSES, 58, None),
    "execve": _Call(PROGRAMS, 59, 221),
    "execveat": _Call(PROGRAMS, 322, 281),
    "rt_sigqueueinfo": _Call(SIGNALS, 129, 138),
    "rt_tgsigqueueinfo": _Call(SIGNALS, 297, 240),
    "pidfd_send_signal": _Call(SIGNALS, 424, 424),
    "unshare": _Call(SYSTEM, 272, 97),
    "setns": _Call(SYSTEM, 308, 268),
    "mount": _Call(SYSTEM, 165, 40),
    "umount2": _Call(SYSTEM, 166, 39),
    "pivot_root": _Call(SYSTEM, 155, 41),
    "chroot": _Call(SYSTEM, 161, 51),
    "open_tree": _Call(SYSTEM, 428, 428),
    "move_mount": _Call(SYSTEM, 429, 429),
    "fsopen": _Call(SYSTEM, 430, 430),
    "bpf": _Call(SYSTEM, 321, 280),
    "perf_event_open": _Call(SYSTEM, 298, 241),
    "userfaultfd": _Call(SYSTEM, 323, 282),
    "add_key": _Call(SYSTEM, 248, 217),
    "request_key": _Call(SYSTEM, 249, 218),
    "keyctl": _Call(SYSTEM, 250, 219),
}
_ONLY_THREADS = _Call(PROCESSES, 56, 220)
"""`clone`, which makes threads too. `clone3` hides what it makes: without it the C library takes `clone`."""

_CLONE3 = _Call(PROCESSES, 435, 435)
_ONLY_ITSELF = {
    "kill": _Call(SIGNALS, 62, 129),
    "tkill": _Call(SIGNALS, 200, 130),
    "tgkill": _Call(SIGNALS, 234, 131),
    "prlimit64": _Call(OTHERS, 302, 261),
}
"""Their first argument is a process; this one may be named, as 0 too where that means itself."""


def known_machine() -> bool:
    """Whether the calls of this machine are known."""
    return platform.machine() in _ARCHITECTURES


def refuse_calls(libc: ctypes.CDLL, own_pid: int, rules: Iterable[str]) -> bool:
    """Have the kernel refuse calls of this process and all its threads, for good; say whether it does.

    Args:
        libc: The C library.
        own_pid: Of this process.
        rules: Of `CALL_RULES`.
    """
    if not known_machine():
        return False
    steps = _program(platform.machine(), own_pid, frozenset(rules))
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(code)))
    return bool(libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, program, 0, 0) == 0)


def _program(machine: str, own_pid: int, rules: frozenset[str]) -> list[Step]:
    def number(call: _Call) -> int | None:
        return getattr(call, machine) if call.rule in rules else None

    steps: list[Step] = [
        (_LOAD, 0, 0, _AT_ARCHITECTURE),  # how this call is made: that of another machine ends the process
        (_IF_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _AT_CALL),
        (_IF_AT_LEAST, 0, 1, _FOREIGN_CALLS),
        (_RETURN, 0, 0, _REFUSE),
    ]
    for call in _REFUSED.values():
        steps += _if_it_is(number(call), [(_RETURN, 0, 0, _REFUSE)])
    steps += _if_it_is(number(_CLONE3), [(_RETURN, 0, 0, _UNKNOWN)])
    steps += _if_it_is(number(_ONLY_THREADS), _first_argument((_IF_SET, _CLONE_THREAD)))
    for name, call in _ONLY_ITSELF.items():
        also = [(_IF_EQUAL, 0)] if name == "prlimit64" else []
        steps += _if_it_is(number(call), _first_argument(*also, (_IF_EQUAL, own_pid)))
    return [*steps, (_RETURN, 0, 0, _ALLOW)]


def _if_it_is(number: int | None, then: list[Step]) -> list[Step]:
    return [] if number is None else [(_IF_EQUAL, 0, len(then), number), *then]


def _first_argument(*tests: tuple[int, int]) -> list[Step]:
    """Return steps that allow a call whose first argument passes one of the tests, and refuse it else."""
    looks = [(code, len(tests) - place, 0, operand) for place, (code, operand) in enumerate(tests)]
    return [(_LOAD, 0, 0, _AT_FIRST_ARGUMENT), *looks, (_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)]
