"""Servers as processes of their own, for measurements: started, waited for, measured, stopped."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import psutil

from server.process.children import module_command, module_environment
from server.process.embedded_redis import EmbeddedRedis
from workers.core.settings import Settings

START_S = 60.0
POLL_S = 0.02
LOOK_S = 0.2
"""Between two looks at the memory of all processes, each of which takes milliseconds."""


class Server:
    """A process that serves on a port of the loopback.

    Args:
        process: The process.
        port: Its port.
    """

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.port = port

    def kill(self) -> None:
        """End it as a crash does: it learns nothing of it."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """End it in order."""
        self.process.terminate()
        self.process.wait()


@contextmanager
def queue_of(data_dir: Path) -> Iterator[Settings]:
    """Give settings of a gateway with this data folder and a queue server of its own."""
    with EmbeddedRedis(data_dir) as queue:
        yield Settings(data_dir=data_dir, redis_url=queue.url, disk_reserve_bytes=0, upload_max_bytes=2**40)


def start_gateway(settings: Settings) -> Server:
    """Start a gateway, as `ldiffusion serve` does, and wait until it answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return start(module_command("server.process.gateway", "--fd", str(listener.fileno())), settings, listener)


def start(command: list[str], settings: Settings | None, listener: socket.socket) -> Server:
    """Start a server on a socket that is open already, and wait until it answers."""
    port = int(listener.getsockname()[1])
    environment = module_environment(settings)
    process = subprocess.Popen(
        command, env=environment, pass_fds=(listener.fileno(),), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    server = Server(process, port)
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with status {process.returncode}: {' '.join(command)}")
        if _answers(port):
            return server
        time.sleep(POLL_S)
    server.kill()
    raise RuntimeError(f"the server did not answer within {START_S:g} s: {' '.join(command)}")


def _answers(port: int) -> bool:
    """Whether somebody accepts and answers; a socket that only listens does not answer."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.settimeout(1)
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            return connection.recv(12).startswith(b"HTTP/1.")
    except OSError:
        return False


def held_mb(process: psutil.Process) -> float:
    """Return the resident memory of a process and of those it started.

    Memory that several of them share counts once where the kernel tells so much, which it does to root; else as often
    as they are. A child that has not begun yet has all of its parent's memory, and none of its own.
    """
    command = process.cmdline()
    total = _own_bytes(process)
    for child in process.children(recursive=True):
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if child.ppid() != process.pid or child.cmdline() != command:
                total += _own_bytes(child)
    return total / 1e6


def _own_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.AccessDenied:
        return int(process.memory_info().rss)


class PeakMemory:
    """The largest resident memory of a process and of those it started, while the context lasts.

    Attributes:
        own_mb: Of the process alone, as the kernel kept it.
        all_mb: Of all at the same time, looked at several times a second.
    """

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._look)
        self.own_mb = 0.0
        self.all_mb = 0.0

    def _look(self) -> None:
        while not self._ended.wait(LOOK_S):
            self.all_mb = max(self.all_mb, held_mb(self._process))

    def __enter__(self) -> Self:
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._watch.join()
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        self.own_mb = int(line.split()[1]) * 1024 / 1e6


def forget_pages(path: Path) -> None:
    """Have the kernel drop what it holds of a file, so that the next reader finds it on the disk alone."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
