"""What a process gives up, for good, before it opens a file of a stranger: whatever goes wrong harms it alone.

Each rule has a name, so that a test can leave one out and see what it was good for.
"""

import ctypes
import os
import platform
import resource
import signal
import struct
from collections.abc import Set as AbstractSet
from pathlib import Path

from pydantic import Field

from workers.core.confinement.files import leave_files
from workers.core.confinement.system_calls import CALL_RULES, NETWORK, refuse_calls
from workers.core.errors.intake import ConfinementFailed
from workers.core.frozen import Frozen

OUTPUT_MAX_BYTES = 2**20
MAX_OPEN_FILES = 64

NAMESPACE, CAPABILITIES, FILES, UNSEEN, USAGE = "namespace", "capabilities", "files", "unseen", "usage"
RULES = CALL_RULES | {NAMESPACE, CAPABILITIES, FILES, UNSEEN, USAGE}
"""All rules: groups of system calls, an empty network namespace, no capabilities, no files but the slide's, no look
into the process from outside, and limits of memory, CPU and files."""

LIBC = ctypes.CDLL(None)
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 4, 24, 38
_PR_CAP_AMBIENT, _CLEAR_ALL = 47, 4
_CAPABILITY_VERSION = 0x20080522
_MAX_CAPABILITY = 63


class Limits(Frozen):
    """What a confined process may use.

    Attributes:
        may_write: In the folder of the file.
        also_reads: Files elsewhere that it may read.
        bare_root: Whether root may go on where the kernel has no Landlock.
    """

    cpu_s: int
    memory_bytes: int = Field(description="Of address space, in all.")
    file_bytes: int = Field(default=OUTPUT_MAX_BYTES, description="Largest file it may write.")
    may_write: bool = False
    also_reads: tuple[str, ...] = ()
    bare_root: bool = False


def lock_in(
    limits: Limits, folder: Path | None = None, rules: AbstractSet[str] = RULES, *, has_no_network: bool = False
) -> None:
    """Give up memory, CPU, files, the network and other processes, for good, and end with the parent.

    The network goes twice: into an empty network namespace, where the kernel lets us make one (containers mostly do
    not), and by a filter that refuses the making of sockets, which needs no privilege. One of them must hold. The files
    go where the kernel has Landlock; root, to whom all files of the system belong, needs it.

    Args:
        limits: What stays.
        folder: Whose files stay; the current one if it is None.
        rules: Of `RULES`; less than all in tests.
        has_no_network: The network namespace is an empty one already.

    Raises:
        ConfinementFailed: It would have the network, gain privileges, or be root over all files.
    """
    is_root = os.geteuid() == 0
    libc = LIBC
    if USAGE in rules:
        _limit_usage(limits)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise _not_confined("The kernel does not let this process give up new privileges.")
    is_alone = has_no_network or (NAMESPACE in rules and leave_network(libc))
    if CAPABILITIES in rules and not drop_capabilities(libc):
        raise _not_confined("The kernel does not take this process's capabilities.")
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # whoever takes the work up again is alone with the files
    if UNSEEN in rules:
        stay_unseen()
    has_left = FILES in rules and leave_files(
        libc, folder or Path.cwd(), may_write=limits.may_write, also_reads=limits.also_reads
    )
    if is_root and FILES in rules and not (has_left or limits.bare_root):
        raise _not_confined("It runs as root, and the kernel has no Landlock to keep it from all files.")
    is_filtered = refuse_calls(libc, os.getpid(), rules & CALL_RULES)
    if not (is_alone or (is_filtered and NETWORK in rules)):
        raise _not_confined("The kernel neither gives an empty network namespace nor takes a seccomp filter.")


def leave_network(libc: ctypes.CDLL) -> bool:
    """Move this process into a network namespace of its own, which is empty; say whether it did."""
    if libc.unshare(_CLONE_NEWNET) == 0:  # needs a privilege …
        return True
    return bool(libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0)  # … which one of its own gives, where allowed


def drop_capabilities(libc: ctypes.CDLL) -> bool:
    """Give up what root, or who has a user namespace of its own, may do beyond its own files; say whether it did."""
    for capability in range(_MAX_CAPABILITY + 1):
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    libc.prctl(_PR_CAP_AMBIENT, _CLEAR_ALL, 0, 0, 0)
    head, none = struct.pack("=Ii", _CAPABILITY_VERSION, 0), bytes(24)
    held = ctypes.create_string_buffer(24)
    return libc.capset(head, none) == 0 and libc.capget(head, held) == 0 and held.raw == none


def stay_unseen() -> None:
    """Let no process of the same user look into this one, by `/proc/PID/mem` or otherwise."""
    LIBC.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _limit_usage(limits: Limits) -> None:
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


def _not_confined(reason: str) -> ConfinementFailed:
    return ConfinementFailed(
        f"This server cannot look at slides safely, so it does not. {reason}",
        value=platform.machine(),
        accepted="user namespaces, or seccomp on x86-64 or ARM64; as root Landlock too: see docs/deploy.md",
    )
