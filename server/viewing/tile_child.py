"""`python -m server.viewing.tile_child`: has all that reads slides ready, and makes confined children of itself.

It opens no slide. For each request of the gateway on its standard input it makes a child for one slide, which takes
milliseconds, gives the child the other end of the line that came with the request, and the gateway a hold of the
process. The child locks itself in, with nothing left to read but the folder of that slide, and then decodes what is
asked for until the line is closed.
"""

import os
import resource
import signal
import socket
import sys
import time
from math import ceil
from pathlib import Path

import imagecodecs
import pydicom
import tifffile

from server.viewing.decoding import SlideDecoder
from server.viewing.tile_protocol import Binding, ChildLost, Head, Wanted, receive, send
from workers.core.confinement.lock import LIBC, Limits, leave_network, lock_in, stay_unseen
from workers.core.errors.base import LDiffusionError, SlideUnreadable, TileFailed
from workers.core.schemas import ErrorBody

READY = b"ready"
ORDER_MAX_BYTES = 2**17

USED = (imagecodecs, pydicom, tifffile)
"""What readers import when they need it: here it is shared by all children."""

_PAGE_BYTES = resource.getpagesize()


def main() -> int:
    """Make children until the gateway is gone; return the exit status."""
    stay_unseen()  # its children run as the same user
    has_no_network = leave_network(LIBC)  # once for all of them: it takes longer than all else
    line, nothing = os.dup(0), os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)  # or every child had the line of the orders
    os.close(nothing)
    with socket.socket(fileno=line) as orders:
        orders.send(READY)
        while True:
            order, files, _, _ = socket.recv_fds(orders, ORDER_MAX_BYTES, 1)
            if not order or not files:
                return 0
            child = os.fork()
            if child == 0:
                orders.close()
                _begin(order, files[0], has_no_network=has_no_network)
            os.close(files[0])
            _introduce(orders, child)


def _introduce(orders: socket.socket, child: int) -> None:
    """Give the gateway a hold of a child, and bury those that have ended."""
    handle = os.pidfd_open(child)
    try:
        socket.send_fds(orders, [str(child).encode()], [handle])
    finally:
        os.close(handle)
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return


def _begin(order: bytes, line: int, *, has_no_network: bool) -> None:
    """Be a child, and never return."""
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        with socket.socket(fileno=line) as to_gateway:
            serve(Binding.model_validate_json(order), to_gateway, has_no_network=has_no_network)
        status = 0
    finally:
        os._exit(status)


def serve(binding: Binding, line: socket.socket, *, has_no_network: bool) -> None:
    """Lock this process in and decode what is asked for, until the gateway closes the line.

    Args:
        binding: The slide, and the limits.
        line: To the gateway.
        has_no_network: The network is gone already.
    """
    limits = binding.limits
    try:
        os.chdir(binding.folder)
        in_all = limits.model_copy(update={"memory_bytes": _address_space() + limits.memory_bytes})
        lock_in(in_all, has_no_network=has_no_network)
    except (LDiffusionError, OSError) as error:
        refusal = error if isinstance(error, LDiffusionError) else SlideUnreadable("The slide's folder is not there.")
        receive(line, Wanted)
        send(line, Head(error=_told(refusal), is_last=True))
        return
    decoder = SlideDecoder(Path(binding.file), binding.info)
    while True:
        try:
            wanted = receive(line, Wanted)
        except ChildLost:
            return
        _limit_cpu(binding.cpu_s, limits)
        head, body = _answer(decoder, wanted)
        if time.process_time() > limits.cpu_s / 2:
            head = head.model_copy(update={"is_last": True})
        send(line, head, body)


def _answer(decoder: SlideDecoder, wanted: Wanted) -> tuple[Head, bytes]:
    try:
        if wanted.kind == "tile":
            tile = decoder.tile(wanted.address)
            return Head(size=len(tile)), tile
        pixels, lost = decoder.overview()
        height, width = pixels.shape[:2]
        return Head(size=pixels.nbytes, width=width, height=height, lost=lost), pixels.tobytes()
    except LDiffusionError as error:
        return Head(error=_told(error)), b""
    except MemoryError:
        too_much = TileFailed("Decoding this part of the slide takes more memory than it may have.", value=wanted.name)
        return Head(error=_told(too_much), is_last=True), b""


def _told(error: LDiffusionError) -> ErrorBody:
    return ErrorBody.model_validate(error.as_dict())


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * _PAGE_BYTES


def _limit_cpu(seconds: int, limits: Limits) -> None:
    """Let the next request take so much CPU; who takes more is ended by the kernel."""
    most = resource.getrlimit(resource.RLIMIT_CPU)[1]
    wanted = ceil(time.process_time()) + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (min(wanted, limits.cpu_s, most), most))


if __name__ == "__main__":
    sys.exit(main())
