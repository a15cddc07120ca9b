"""A process that has all that reads slides ready, opens none, and makes confined children of itself.

For each order on its standard input it makes a child, which takes milliseconds and shares its memory, gives the child
the descriptors that came with the order, the first of them the child's line, and whoever ordered a hold of the process.
"""

import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import ceil
from pathlib import Path
from types import FrameType

import imagecodecs
import pydicom
import tifffile

from workers.core.children.line import ORDER_MAX_BYTES, READY
from workers.core.confinement.lock import LIBC, Limits, leave_network, lock_in, stay_unseen

FILES_MAX = 2
"""Descriptors that come with an order."""

USED = (imagecodecs, pydicom, tifffile)
"""What readers import when they need it: here it is shared by all children."""

FIRST_TO_GO = "1000"
"""Where memory is short, the kernel ends who has the most of this: a child rather than the process it works for."""

_PAGE_BYTES = resource.getpagesize()

Begin = Callable[[bytes, socket.socket, Sequence[int], bool], None]
"""What a child does, with its order, its line, further descriptors, and whether the network is gone already."""


def make_children(begin: Begin) -> int:
    """Make children until whoever orders them is gone; return the exit status."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO, "ascii")
    stay_unseen()  # its children run as the same user
    has_no_network = leave_network(LIBC)  # once for all of them: it takes longer than all else
    line, nothing = os.dup(0), os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)  # or every child had the line of the orders
    os.close(nothing)
    signal.signal(signal.SIGCHLD, _bury)
    with socket.socket(fileno=line) as orders:
        orders.send(READY)
        while True:
            order, files, _, _ = socket.recv_fds(orders, ORDER_MAX_BYTES, FILES_MAX)
            if not order or not files:
                return 0
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})  # none is buried before there is a hold of it
            child = os.fork()
            if child == 0:
                orders.close()
                _live(begin, order, files, has_no_network=has_no_network)
            for file in files:
                os.close(file)
            _introduce(orders, child)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


def confine(limits: Limits, folder: Path, *, has_no_network: bool) -> None:
    """Go to a folder and lock this process in there; the memory of the limits is that beyond what it has.

    Raises:
        ConfinementFailed: It cannot.
        OSError: The folder is not there.
    """
    os.chdir(folder)
    in_all = limits.model_copy(update={"memory_bytes": _address_space() + limits.memory_bytes})
    lock_in(in_all, has_no_network=has_no_network)


def limit_cpu(seconds: int, limits: Limits) -> None:
    """Let the next request take so much CPU; who takes more is ended by the kernel."""
    most = resource.getrlimit(resource.RLIMIT_CPU)[1]
    wanted = ceil(time.process_time()) + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (min(wanted, limits.cpu_s, most), most))


def has_worked_long(limits: Limits) -> bool:
    """Whether this process has taken half of the CPU of its life: it is to be replaced."""
    return time.process_time() > limits.cpu_s / 2


def _bury(_number: int, _frame: FrameType | None) -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _introduce(orders: socket.socket, child: int) -> None:
    """Give whoever ordered a child a hold of it."""
    handle = os.pidfd_open(child)
    try:
        socket.send_fds(orders, [str(child).encode()], [handle])
    finally:
        os.close(handle)


def _live(begin: Begin, order: bytes, files: Sequence[int], *, has_no_network: bool) -> None:
    """Be a child, and never return."""
    status = 1
    try:
        for number in (signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        with socket.socket(fileno=files[0]) as line:
            begin(order, line, files[1:], has_no_network)
        status = 0
    finally:
        os._exit(status)


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * _PAGE_BYTES
