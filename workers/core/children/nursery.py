"""The side of whoever orders children. What makes them is started ahead, and started again if it is gone."""

import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress

from pydantic import BaseModel

from workers.core.children.line import ORDER_MAX_BYTES, READY
from workers.core.children.priority import step_back
from workers.core.confinement.environment import child_environment
from workers.core.errors.base import Unavailable

START_S = 60.0
"""Longest until children can be made."""

logger = logging.getLogger(__name__)


class Child:
    """A confined process.

    Attributes:
        line: To it.
        pid: Its number, for people.
    """

    def __init__(self, line: socket.socket, handle: int, pid: int) -> None:
        self.line = line
        self.pid = pid
        self._handle = handle
        self._lock = threading.Lock()

    def has_spoken(self) -> bool:
        """Whether it said something, or closed its line, without being asked."""
        return bool(select.select([self.line], [], [], 0)[0])

    def kill(self) -> None:
        """End the process, whatever it does; whoever waits for its answer hears that it is gone. For any thread."""
        with self._lock:
            if self._handle >= 0:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._handle, signal.SIGKILL)

    def end(self) -> None:
        """End the process, and let go of it."""
        self.kill()
        with self._lock:
            self.line.close()
            if self._handle >= 0:
                os.close(self._handle)
            self._handle = -1


class Nursery:
    """The process that makes children, see `workers.core.children.zygote`. For any thread.

    Args:
        module: What it runs.
        steps_back: Its children get the processor after this process.
    """

    def __init__(self, module: str, *, steps_back: bool = False) -> None:
        self._module = module
        self._steps_back = steps_back
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._orders: socket.socket | None = None
        self._is_ready = False

    def start(self) -> None:
        """Start the process if it does not run; does not wait for it."""
        with self._lock:
            self._start()

    def child(self, order: BaseModel, files: Sequence[int] = ()) -> Child:
        """Return a new child.

        Args:
            order: What it is for.
            files: Descriptors that it gets, beside its line; they stay open here too.

        Raises:
            Unavailable: None can be made.
        """
        said = order.model_dump_json().encode()
        if len(said) > ORDER_MAX_BYTES:
            raise Unavailable("The description of this slide is too long.", value=len(said))
        for _ in range(2):  # once more with a new process
            with self._lock:
                try:
                    return self._child(self._start(), said, files)
                except (OSError, ValueError) as error:
                    logger.warning("the process that makes children is gone: %s", error)
                    self._stop()
        raise Unavailable("No process can be started that reads slides.")

    def stop(self) -> None:
        """End the process, and with it all children."""
        with self._lock:
            self._stop()

    def _start(self) -> socket.socket:
        if self._orders is not None:
            return self._orders
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", self._module],
                env=child_environment(),
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        if self._steps_back:
            step_back(self._process.pid)
        ours.settimeout(START_S)
        self._orders, self._is_ready = ours, False
        return ours

    def _child(self, orders: socket.socket, said: bytes, files: Sequence[int]) -> Child:
        if not self._is_ready:
            if orders.recv(len(READY)) != READY:
                raise OSError("it ended before it was ready")
            self._is_ready = True
        ours, theirs = socket.socketpair()
        try:
            return Child(ours, *_hand_over(orders, said, [theirs.fileno(), *files]))
        except (OSError, ValueError):
            ours.close()
            raise
        finally:
            theirs.close()

    def _stop(self) -> None:
        if self._orders is not None:
            self._orders.close()  # at which it ends by itself, and its children with it
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._orders, self._process = None, None


def _hand_over(orders: socket.socket, said: bytes, files: Sequence[int]) -> tuple[int, int]:
    """Order a child, give it descriptors, and return a hold of its process and its number."""
    socket.send_fds(orders, [said], files)
    name, handles, _, _ = socket.recv_fds(orders, 64, 1)
    if not handles:
        raise OSError("it gave no child")
    return handles[0], int(name)
