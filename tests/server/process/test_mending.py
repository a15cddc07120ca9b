"""What the supervisor mends: a gateway that hangs, a queue server that does not start, and it gives up neither."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from queue_fixtures import until

from server.process import serve
from server.process.gateway_health import GatewayHealth, answers
from server.process.serve import Supervisor, listen
from workers.core.errors.base import QueueUnavailable
from workers.core.settings import Settings

pytestmark = pytest.mark.process


@pytest.fixture
def supervisor(queue_settings: Settings) -> Iterator[Supervisor]:
    with listen("127.0.0.1", 0) as listener:
        yield Supervisor(queue_settings.model_copy(update={"workers": 1}), listener)


def test_once_it_was_ready_nothing_of_it_is_given_up(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-c", "raise SystemExit(3)"]
    monkeypatch.setattr(serve, "answers", lambda *_: True)
    supervisor._announce()
    supervisor._health.stop()
    now = 1000.0
    for child in supervisor.children:
        child._command = command
        for _ in range(8):
            child.tend(now)
            assert child.process is not None
            child.process.wait()
            child.tend(now)
            now += 30.0


def test_a_gateway_that_hangs_is_killed(supervisor: Supervisor) -> None:
    gateway = supervisor.children[0]
    gateway.process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    os.kill(gateway.process.pid, signal.SIGSTOP)
    supervisor._health = GatewayHealth(lambda: False, look_s=0.02, hung_s=0.2)
    supervisor._replace_hung()  # nobody has asked yet: it has not been ready
    assert gateway.process.poll() is None
    supervisor._health.start()
    until(lambda: gateway.process is not None and gateway.process.poll() is not None, supervisor._replace_hung)
    assert gateway.process.returncode == -signal.SIGKILL
    supervisor._health.stop()


def test_a_gateway_that_answers_or_has_just_begun_does_not_hang() -> None:
    heard = GatewayHealth(lambda: True, look_s=0.01, hung_s=5)
    silent = GatewayHealth(lambda: False, look_s=0.01, hung_s=0.1)
    for health in (heard, silent):
        health.start()
    until(lambda: silent.hangs(0.0))
    assert not silent.hangs(time.monotonic())
    assert not heard.hangs(0.0)
    for health in (heard, silent):
        health.stop()


def test_who_takes_a_connection_and_says_nothing_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        assert not answers(mute.getsockname(), "/healthz", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as busy:

        def refuse() -> None:
            connection, _ = busy.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 503 Full\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=refuse)
        thread.start()
        assert answers(busy.getsockname(), "/healthz", 5.0)
        thread.join()


class Stubborn:
    """An embedded queue that has ended, and does not start so often."""

    def __init__(self, failures: int) -> None:
        self.pid: int | None = None
        self.failures = failures
        self.starts = 0

    def start(self) -> str:
        self.starts += 1
        if self.starts <= self.failures:
            raise QueueUnavailable("The embedded queue server ended at once.")
        self.pid = os.getppid()
        return "unix://somewhere"


def test_a_queue_that_does_not_start_is_tried_again(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    queue: Any = Stubborn(2)
    supervisor._queue = queue
    clock = [1000.0]
    monkeypatch.setattr("server.process.serve.time.monotonic", lambda: clock[0])
    for elapsed, starts in ((0.0, 1), (0.4, 1), (0.2, 2), (0.9, 2), (0.2, 3)):
        clock[0] += elapsed
        supervisor._tend_queue()
        assert queue.starts == starts
    assert queue.pid is not None
