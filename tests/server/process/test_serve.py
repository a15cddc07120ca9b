"""The supervisor: starts, mends and stops its children, and leaves none behind however it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from queue_fixtures import begun, drain, entries, running, worker

from server.access.keys import Keys
from server.process.children import module_command, module_environment
from server.process.serve import Supervisor, listen, serve, stop
from workers.core.errors.base import QueueUnavailable, RequestInvalid
from workers.core.queue.heartbeat import end_of
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import Task
from workers.core.settings import Settings

pytestmark = pytest.mark.process

WAIT_S = 30.0


def wait_for(true: Callable[[], Any]) -> Any:
    """Wait until the function gives something true, and return that."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if found := true():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {WAIT_S} s")


class Server:
    """`ldiffusion serve` without workers, as a process."""

    def __init__(self, data_dir: Path, *options: str) -> None:
        self.data_dir = data_dir
        command = module_command(
            "server.cli.main", "serve", "--data-dir", str(data_dir), "--port", "0", "--workers", "0"
        )
        self.process = subprocess.Popen([*command, *options], env=module_environment(), stderr=subprocess.PIPE)

    def wait_ready(self) -> str:
        address = self.data_dir / "server.json"
        wait_for(lambda: address.exists() or self.process.poll() is not None)
        return str(json.loads(address.read_text())["url"])

    def children(self) -> list[int]:
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def child(self, *, gateway: bool) -> int:
        """Process id of the gateway or of the queue server."""
        return next(pid for pid in self.children() if (b"server.process.gateway" in command_line(pid)) is gateway)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "data")
    yield server
    if server.process.poll() is None:
        server.process.terminate()
    server.process.communicate(timeout=WAIT_S)


def command_line(pid: int) -> bytes:
    """Command line of a process, empty once it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


def gone(pids: list[int]) -> bool:
    return not any(command_line(pid) for pid in pids)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_everything(server: Server, number: signal.Signals) -> None:
    url = server.wait_ready()
    assert httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
    children = server.children()
    assert [gone([child]) for child in children] == [False, False]  # the gateway and the queue server
    server.process.send_signal(number)
    assert server.process.wait(WAIT_S) == 0
    assert gone(children)
    assert not (server.data_dir / "server.json").exists()


def test_a_killed_supervisor_takes_its_children_with_it(server: Server) -> None:
    server.wait_ready()
    children = server.children()
    server.process.kill()
    wait_for(lambda: gone(children))


def test_a_killed_gateway_comes_back_at_the_same_address(server: Server) -> None:
    url = server.wait_ready()
    gateway = server.child(gateway=True)
    os.kill(gateway, signal.SIGKILL)
    wait_for(lambda: gone([gateway]))
    # The socket is the supervisor's: this request waits in its queue until the new gateway takes it.
    assert httpx.get(f"{url}/readyz", trust_env=False, timeout=WAIT_S).status_code == 200
    assert server.process.poll() is None


def test_a_killed_queue_server_comes_back_with_what_it_held(server: Server) -> None:
    url = server.wait_ready()
    os.kill(server.child(gateway=False), signal.SIGKILL)
    wait_for(lambda: httpx.get(f"{url}/readyz", trust_env=False).status_code == 200)
    assert server.process.poll() is None


def test_two_servers_do_not_share_a_data_folder(server: Server) -> None:
    server.wait_ready()
    second = Server(server.data_dir)
    complaint = second.process.communicate(timeout=WAIT_S)[1].decode()
    assert second.process.returncode == 2
    assert "error: queue_unavailable: " in complaint
    assert "Traceback" not in complaint
    assert (server.data_dir / "server.json").exists()


def test_other_machines_are_refused_without_a_usable_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.process.serve.listen", told)
    monkeypatch.setattr("server.process.serve.signal.signal", lambda *_: None)
    settings = Settings(host="0.0.0.0", data_dir=tmp_path, port=0)
    with pytest.raises(RequestInvalid, match="without a usable key"):
        serve(settings)
    key, _ = Keys(tmp_path).create("one", "lab-a", ("read",))
    with pytest.raises(Listening):
        serve(settings)
    Keys(tmp_path).revoke(key.id)
    with pytest.raises(RequestInvalid, match="without a usable key"):
        serve(settings)


def test_a_prefix_or_a_proxy_that_is_none_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.process.serve.listen", told)
    Keys(tmp_path).create("one", "lab-a", ("read",))
    for change in ({"root_path": "wsi"}, {"trusted_proxies": "proxy.example"}):
        with pytest.raises(RequestInvalid, match=next(iter(change))):
            serve(Settings.model_validate({"data_dir": tmp_path, "port": 0, **change}))


def test_the_address_that_is_told_has_the_prefix(tmp_path: Path, empty_queue: str) -> None:
    settings = Settings(data_dir=tmp_path, redis_url=empty_queue, root_path="/lab/wsi/")
    with listen("127.0.0.1", 0) as listener:
        supervisor = Supervisor(settings, listener)
        assert supervisor.url == f"http://127.0.0.1:{listener.getsockname()[1]}/lab/wsi"


def test_what_an_ended_worker_held_is_free_at_once_or_when_the_queue_is_back(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = running(jobs, 2)
    dead = [worker(jobs), worker(jobs)]
    for index, leases in enumerate(dead):
        begun(leases, Task(job_id, "region", index))
    drain(jobs)
    with listen("127.0.0.1", 0) as listener:
        supervisor = Supervisor(jobs.settings, listener)
        with monkeypatch.context() as patch:
            patch.setattr(supervisor._reaper, "take_over", unanswered)
            supervisor._on_worker_end(dead[0].worker_id, -signal.SIGKILL)
        supervisor._on_worker_end(dead[1].worker_id, 70)
    assert sorted(entries(jobs)) == [("segment_region", [job_id, 0]), ("segment_region", [job_id, 1])]
    assert end_of(jobs.redis, dead[0].worker_id) == "SIGKILL"
    assert end_of(jobs.redis, dead[1].worker_id) is None


def unanswered(_worker_id: str) -> None:
    raise QueueUnavailable("The queue does not answer.")


def test_a_gateway_by_itself_refuses_other_machines_too(tmp_path: Path) -> None:
    settings = Settings(host="0.0.0.0", data_dir=tmp_path, port=0, redis_url="redis://127.0.0.1:1")
    ended = subprocess.run(
        module_command("server.process.gateway"),
        env=module_environment(settings),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert "without a usable key" in ended.stderr
    assert "Traceback" not in ended.stderr


class Listening(Exception):
    """The server got as far as to listen."""


def told(_host: str, _port: int) -> None:
    raise Listening


def test_a_taken_port_is_told() -> None:
    with listen("127.0.0.1", 0) as taken, pytest.raises(RequestInvalid) as caught:
        listen("127.0.0.1", taken.getsockname()[1])
    assert caught.value.accepted == "a free port, or 0"


def test_a_process_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.process.serve.STOP_S", 0.2)
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as stubborn:
        assert stubborn.stdout is not None
        stubborn.stdout.readline()
        stop([stubborn])
        assert stubborn.returncode == -signal.SIGKILL
