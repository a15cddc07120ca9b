"""`ldiffusion serve`: the queue server, the gateway and the workers as one thing that starts, mends and stops together.

The supervisor opens the listening socket itself and hands it down, so that the address is known at once and a
restarted gateway keeps it. Children die with the supervisor, also when it is killed.
"""

import http
import json
import logging
import os
import signal
import socket
import subprocess
import threading
import time
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import FrameType

import click

from server.access.exposure import check_exposure, proxies_of
from server.access.keys import Keys
from server.process.children import BACKOFF_MAX_S, BACKOFF_S, Child, module_command, module_environment
from server.process.embedded_redis import EmbeddedRedis
from server.process.gateway_health import GatewayHealth, answers
from server.process.gpus import gpus_of, with_gpu
from server.web.root_path import link_to, root_path_of
from workers.core.confinement.private import make_private, stay_private
from workers.core.errors.base import QueueUnavailable, RequestInvalid
from workers.core.queue.exchange import answering
from workers.core.queue.heartbeat import note_end
from workers.core.queue.jobs import Jobs
from workers.core.queue.reaper import Reaper
from workers.core.settings import Settings
from workers.core.storage.files import atomic_write
from workers.core.telemetry.logs import start_logs

STOP_S = 12.0
"""Grace before SIGKILL: more than the gateway gives its open requests."""

POLL_S = 0.1
BACKLOG = 512
ADDRESS_FILE = "server.json"
LOG_FORMAT = "%(asctime)s %(levelname)s supervisor %(name)s: %(message)s"

logger = logging.getLogger(__name__)


class Supervisor:
    """Gateway and workers behind one socket.

    Args:
        settings: With a `redis_url`.
        listener: The bound socket that the gateway serves.
        queue: The embedded queue server, if it is ours to look after.
    """

    def __init__(self, settings: Settings, listener: socket.socket, queue: EmbeddedRedis | None = None) -> None:
        environment = module_environment(settings)
        gateway = module_command("server.process.gateway", "--fd", str(listener.fileno()))
        worker = module_command("workers")
        gpus = gpus_of(settings, environment)
        if 0 < len(gpus) < settings.workers:
            logger.warning("%d workers share %d GPU: one worker for each is enough", settings.workers, len(gpus))
        self.children = [
            Child("gateway", gateway, environment, (listener.fileno(),)),
            *(
                Child(f"worker {number}", worker, with_gpu(environment, gpus, number), on_end=self._on_worker_end)
                for number in range(1, settings.workers + 1)
            ),
        ]
        self._queue = queue
        self._log_format = settings.log_format
        self._jobs = Jobs(settings.redis_url, settings)
        self._reaper = Reaper(self._jobs)
        self._ends: list[tuple[str, int]] = []
        self._address = _address(listener)
        self._root_path = root_path_of(settings)
        self._ready_file = settings.data_dir / ADDRESS_FILE
        self._ready = False
        self._health = GatewayHealth(partial(answers, self._address, "/healthz"))
        self._queue_pause_s = 0.0
        self._queue_at = 0.0
        self._stop = threading.Event()

    @property
    def url(self) -> str:
        """Where the gateway answers."""
        host, port = self._address
        return link_to(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}", self._root_path)

    def run(self) -> None:
        """Keep the children alive until SIGINT or SIGTERM, then stop them.

        Raises:
            Unavailable: One of them does not stay up.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        self._ready_file.unlink(missing_ok=True)  # of a server that was killed
        try:
            while not self._stop.wait(POLL_S):
                self._tend_queue()
                self._tell_ends()
                for child in self.children:
                    child.tend(time.monotonic())
                self._announce()
                self._replace_hung()
        finally:
            self._health.stop()
            self._ready_file.unlink(missing_ok=True)
            stop([child.process for child in self.children if child.process is not None])

    def _tend_queue(self) -> None:
        """Start the embedded queue server again if it ended; what was queued is in its append-only file."""
        if self._queue is None:
            return
        if self._queue.pid is not None:
            # WNOWAIT: look, and leave the status to the owner of the process.
            if os.waitid(os.P_PID, self._queue.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return
            logger.warning("the queue server ended; it is started again")
            self._queue.stop()
            self._queue_pause_s, self._queue_at = 0.0, 0.0
        if time.monotonic() < self._queue_at:
            return
        try:
            self._queue.start()
        except (QueueUnavailable, OSError) as error:
            self._queue_pause_s = min(BACKOFF_MAX_S, max(BACKOFF_S, 2 * self._queue_pause_s))
            self._queue_at = time.monotonic() + self._queue_pause_s
            logger.warning(
                "the queue server does not start, and is tried again in %.1f s: %s", self._queue_pause_s, error
            )

    def _replace_hung(self) -> None:
        """Kill a gateway that is there and answers nothing; it is started again as one that ended."""
        gateway = self.children[0]
        if gateway.process is not None and self._health.hangs(gateway.started_at):
            logger.error("the gateway does not answer any more; it is killed and started again")
            gateway.process.kill()
            gateway.process.wait()

    def _on_worker_end(self, worker_id: str, status: int) -> None:
        self._ends.append((worker_id, status))
        self._tell_ends()

    def _tell_ends(self) -> None:
        """Free what ended workers held, and leave word by which signal one was killed: its job shall say so.

        While the queue is away nothing is lost: the next round tries again.
        """
        while self._ends:
            worker_id, status = self._ends[0]
            try:
                with answering():
                    if status < 0:
                        note_end(self._jobs.redis, worker_id, signal.Signals(-status).name)
                    self._reaper.take_over(worker_id)
            except QueueUnavailable as silence:
                logger.warning("the queue does not hear that worker %s has ended: %s", worker_id, silence)
                return
            self._ends.pop(0)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self._stop.is_set():  # asked twice: no more patience
            for child in self.children:
                if child.process is not None:
                    child.process.kill()
        self._stop.set()

    def _announce(self) -> None:
        """Once the gateway is ready, say where, on the terminal and in the data folder."""
        if self._ready or not answers(self._address, "/readyz", 1.0, http.HTTPStatus.OK):
            return
        self._ready = True
        for child in self.children:
            child.prove()  # a server that was up is mended, and not given up with its queue and its workers
        self._health.start()
        with atomic_write(self._ready_file) as temporary:
            temporary.write_text(json.dumps({"url": self.url, "pid": os.getpid()}) + "\n", encoding="utf-8")
        if self._log_format == "json":
            logger.info("ready at %s", self.url)
        else:
            click.echo(f"L-Diffusion Server is ready at {self.url} (API: {self.url}/docs). Ctrl-C stops it.")


def serve(settings: Settings) -> None:
    """Run the whole server until it is told to stop.

    Raises:
        RequestInvalid: The address cannot be listened on, or others reach it and there is no key, the data folder
            cannot be made or is another user's, or path prefix or proxies are none.
        Unavailable: A part of the server does not stay up, or the keys cannot be read.
    """
    make_private(settings.data_dir)
    check_exposure(settings, Keys(settings.data_dir).read(), datetime.now(UTC))
    root_path_of(settings)
    proxies_of(settings)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # until the supervisor takes over
    with ExitStack() as stack:
        listener = stack.enter_context(listen(settings.host, settings.port))
        changes: dict[str, object] = {"data_dir": settings.data_dir.resolve()}
        queue = None
        if not settings.redis_url:
            queue = stack.enter_context(EmbeddedRedis(settings.data_dir))
            changes["redis_url"] = queue.url
        Supervisor(settings.model_copy(update=changes), listener, queue).run()


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 picks a free one.

    Raises:
        RequestInvalid: The address is taken or not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise RequestInvalid(
            f"port: cannot listen there: {error.strerror or error}.",
            value=f"{host}:{port}",
            accepted="a free port, or 0",
        ) from error


def stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """End processes: SIGTERM to all, and SIGKILL to those still there when the grace is over."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + STOP_S
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            logger.warning("process %d did not stop in time and is killed", process.pid)
            process.kill()
            process.wait()


def run(settings: Settings) -> None:
    """Serve, with a log on standard error.

    Raises:
        LDiffusionError: As `serve`.
    """
    stay_private()
    start_logs("supervisor", settings.log_format, LOG_FORMAT)
    with suppress(KeyboardInterrupt):  # before the children were up
        serve(settings)


def read_address(data_dir: Path) -> str | None:
    """Return the URL of the server of a data folder once it is ready, else None."""
    path = data_dir / ADDRESS_FILE
    return str(json.loads(path.read_text())["url"]) if path.exists() else None


def _address(listener: socket.socket) -> tuple[str, int]:
    """Return where to reach the listener from this machine."""
    host, port = listener.getsockname()[:2]
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port  # noqa: S104 - not bound here
