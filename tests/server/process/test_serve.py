"""The supervisor: starts, mends and stops its children, and leaves none behind however it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.access.keys import Keys
from server.process.children import CRASHES_MAX, STEADY_S, Child, module_command, module_environment
from server.process.serve import Supervisor, listen, serve, stop
from workers.core.errors.base import RequestInvalid, Unavailable
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


def ending_child(status: int = 3) -> Child:
    return Child("made", [sys.executable, "-c", f"raise SystemExit({status})"], dict(os.environ))


def let_it_end(child: Child) -> None:
    assert child.process is not None
    child.process.wait(WAIT_S)


def test_a_child_is_started_again_after_a_pause_that_grows() -> None:
    child, now = ending_child(), 1000.0
    for pause in (0.5, 1.0, 2.0, 4.0):
        child.tend(now)
        let_it_end(child)
        child.tend(now)  # sees the end
        child.tend(now + pause - 0.01)
        assert child.process is None
        now += pause
    child.tend(now)
    let_it_end(child)


def test_a_child_that_always_ends_is_given_up() -> None:
    child, now = ending_child(), 1000.0
    for _ in range(CRASHES_MAX - 1):
        child.tend(now)
        let_it_end(child)
        child.tend(now)
        now += 30.0
    child.tend(now)
    let_it_end(child)
    with pytest.raises(Unavailable, match="The made ended 6 times in a row, last with status 3"):
        child.tend(now)


def test_a_child_that_lived_long_is_forgiven() -> None:
    child, now = ending_child(), 1000.0
    for _ in range(CRASHES_MAX + 2):
        child.tend(now)
        let_it_end(child)
        now += STEADY_S + 1
        child.tend(now)
        assert child.crashes == 1
        now += 1


@pytest.mark.parametrize(("first", "is_sound"), [("os.write(int(sys.argv[-1]), b'w1')", True), ("pass", False)])
def test_a_crash_at_a_task_is_not_counted_and_one_before_is(first: str, is_sound: bool) -> None:
    code = f"import os, signal, sys; {first}; os.kill(os.getpid(), signal.SIGKILL)"
    ends: list[tuple[str, int]] = []
    command, now = [sys.executable, "-c", code], 1000.0
    child = Child("worker 1", command, dict(os.environ), on_end=lambda *end: ends.append(end))
    before = len(list(Path("/proc/self/fd").iterdir()))
    counted = []
    for _ in range(CRASHES_MAX - 1):
        child.tend(now)
        let_it_end(child)
        child.tend(now)
        counted.append(child.crashes)
        now += STEADY_S / 2  # long enough for any pause, too short to be forgiven
    assert counted == ([1] * (CRASHES_MAX - 1) if is_sound else list(range(1, CRASHES_MAX)))
    child.tend(now)
    let_it_end(child)
    with nullcontext() if is_sound else pytest.raises(Unavailable, match="last with status -9"):
        child.tend(now)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert ends == ([("w1", -signal.SIGKILL)] * CRASHES_MAX if is_sound else [])


def test_a_child_that_has_worked_once_is_never_given_up(tmp_path: Path) -> None:
    code = f"""if True:
        import os, pathlib, sys
        try:
            pathlib.Path({str(tmp_path / "worked")!r}).touch(exist_ok=False)
            os.write(int(sys.argv[-1]), b"w1")
        finally:
            os._exit(1)
    """
    child = Child("worker 1", [sys.executable, "-c", code], dict(os.environ), on_end=lambda *_: None)
    now = 1000.0
    for _ in range(CRASHES_MAX + 2):
        child.tend(now)
        let_it_end(child)
        child.tend(now)
        now += STEADY_S / 2
    assert child.crashes == CRASHES_MAX + 2


def test_a_process_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.process.serve.STOP_S", 0.2)
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as stubborn:
        assert stubborn.stdout is not None
        stubborn.stdout.readline()
        stop([stubborn])
        assert stubborn.returncode == -signal.SIGKILL
