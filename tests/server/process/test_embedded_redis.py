"""The embedded queue server: real processes, real sockets."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import redis

from server.process import embedded_redis
from server.process.embedded_redis import SOCKET_PATH_MAX_BYTES, EmbeddedRedis, find_server, socket_path
from workers.core.errors.base import QueueUnavailable

pytestmark = pytest.mark.process


@pytest.fixture(autouse=True)
def no_server_on_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every machine runs the packaged server here, whatever else it has installed."""
    monkeypatch.setenv("PATH", str(tmp_path))


def client_of(server: EmbeddedRedis) -> redis.Redis:
    return redis.Redis.from_url(server.url)


def test_server_answers_on_a_private_socket_and_on_no_port(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server, client_of(server) as client:
        assert client.ping()
        assert client.config_get("port") == {"port": "0"}
        mode = (tmp_path / "queue" / "redis.sock").stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o700


def test_what_was_written_outlives_the_server(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server, client_of(server) as client:
        client.set("kept", "yes")
    with EmbeddedRedis(tmp_path) as server, client_of(server) as client:
        assert client.get("kept") == b"yes"


def test_what_was_written_outlives_a_killed_server(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        with client_of(server) as client:
            client.set("kept", "yes")
            client.execute_command("WAITAOF", 1, 0, 5000)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
    with EmbeddedRedis(tmp_path) as server, client_of(server) as client:
        assert client.get("kept") == b"yes"


def written_then_spoiled(folder: Path, spoil: Callable[[Path], object]) -> None:
    with EmbeddedRedis(folder) as server, client_of(server) as client:
        for number in range(200):
            client.set(f"key-{number}", "x" * 50)
    files = folder / "queue" / "appendonlydir"
    spoil(next(path for path in files.iterdir() if path.name.endswith(".incr.aof")))


SPOILS = {
    "zeros": lambda held: held[:2000] + bytes(100) + held[2100:],
    "no command": lambda held: held[:2000] + held[2000:].replace(b"SET", b"\xf1R~", 1),
    "too few words": lambda held: held[:2000] + held[2000:].replace(b"SET", b"GET", 1),
}


@pytest.mark.parametrize("way", SPOILS)
def test_a_damaged_append_only_file_is_set_aside_and_the_server_starts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    def spoil(file: Path) -> None:
        held = file.read_bytes()
        spoiled = SPOILS[way](held)
        assert spoiled != held
        file.write_bytes(spoiled)

    written_then_spoiled(tmp_path, spoil)
    with EmbeddedRedis(tmp_path) as server, client_of(server) as client:
        assert client.keys("*") == []
        client.set("fresh", "yes")
    (aside,) = (tmp_path / "queue").glob("damaged-*")
    assert any(path.name.endswith(".incr.aof") for path in aside.iterdir())
    assert "cannot be read: it is set aside" in caplog.text
    with EmbeddedRedis(tmp_path) as server, client_of(server) as client:
        assert client.get("fresh") == b"yes"
    assert len(list((tmp_path / "queue").glob("damaged-*"))) == 1


def test_damage_of_the_manifest_or_of_the_base_is_survived_too(tmp_path: Path) -> None:
    files = tmp_path / "queue" / "appendonlydir"
    written_then_spoiled(tmp_path, lambda file: (files / "appendonly.aof.manifest").write_bytes(b"\0nothing\n"))
    with EmbeddedRedis(tmp_path) as server, client_of(server) as client:
        assert client.ping()
    written_then_spoiled(tmp_path, lambda file: next(files.glob("*.base.*")).write_bytes(b"REDIS\0\0\0\0spoiled"))
    with EmbeddedRedis(tmp_path) as server, client_of(server) as client:
        assert client.ping()
    assert len(list((tmp_path / "queue").glob("damaged-*"))) == 2


def test_an_append_only_file_cut_short_keeps_what_it_holds(tmp_path: Path) -> None:
    written_then_spoiled(tmp_path, lambda file: file.write_bytes(file.read_bytes()[:-20]))
    with EmbeddedRedis(tmp_path) as server, client_of(server) as client:
        assert client.get("key-0") == b"x" * 50
    assert list((tmp_path / "queue").glob("damaged-*")) == []


def test_stopping_ends_the_process_and_removes_the_socket(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path)
    server.start()
    pid = server.pid
    assert pid is not None
    server.stop()
    assert not psutil.pid_exists(pid)
    assert not (tmp_path / "queue" / "redis.sock").exists()
    server.stop()  # a second time is nothing


def test_a_second_server_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as first, client_of(first) as client:
        with pytest.raises(QueueUnavailable, match=f"pid {os.getpid()}"):
            EmbeddedRedis(tmp_path).start()
        assert client.ping()
    with EmbeddedRedis(tmp_path) as again:
        assert again.pid is not None


@pytest.fixture
def orphan(tmp_path: Path, repo_root: Path) -> Iterator[int]:
    """Process id of a server whose owner was killed, on a system that does not tell it so."""
    code = (
        "import sys, time; from pathlib import Path; from server.process import embedded_redis as embedded\n"
        "embedded.die_with_parent = lambda *_: None\n"
        "server = embedded.EmbeddedRedis(Path(sys.argv[1])); server.start(); print(server.pid, flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=repo_root
    ) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        owner.kill()
    yield pid
    if is_alive(pid):
        os.kill(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    return bool(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)


def test_a_server_whose_owner_was_killed_is_replaced(tmp_path: Path, orphan: int) -> None:
    assert is_alive(orphan)
    with EmbeddedRedis(tmp_path) as server, client_of(server) as client:
        assert client.info("server")["process_id"] == server.pid
        assert not is_alive(orphan)


def test_two_servers_never_share_a_folder(tmp_path: Path, orphan: int, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "queue" / "address").unlink()  # nobody can ask it to end
    monkeypatch.setattr(embedded_redis, "STOP_TIMEOUT_S", 0.3)
    with pytest.raises(QueueUnavailable, match="does not end"):
        EmbeddedRedis(tmp_path).start()
    os.kill(orphan, signal.SIGKILL)
    with EmbeddedRedis(tmp_path) as server, client_of(server) as client:
        assert client.ping()


def test_a_path_too_long_for_a_socket_moves_the_socket_only(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    with EmbeddedRedis(folder) as server, client_of(server) as client:
        place = client.config_get("unixsocket")["unixsocket"]
        assert len(os.fsencode(place)) <= SOCKET_PATH_MAX_BYTES
        assert stat.S_IMODE(Path(place).parent.stat().st_mode) == 0o700
        assert (folder / "queue" / "appendonlydir").is_dir()
        before = server.url
    assert not Path(place).parent.exists()
    assert EmbeddedRedis(folder).url == before


def test_a_socket_folder_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / ("long" * 30)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    place = socket_path(folder.resolve() / "queue").parent
    place.mkdir(mode=0o777)
    place.chmod(0o777)
    with pytest.raises(QueueUnavailable, match="somebody else"):
        EmbeddedRedis(folder).start()


def test_ctrl_c_in_the_terminal_does_not_reach_the_server(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        assert server.pid is not None
        assert os.getsid(server.pid) == server.pid


def test_a_server_that_cannot_start_says_why_and_frees_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddedRedis(tmp_path) as server, client_of(server) as client:
        client.set("kept", "yes")
    command = EmbeddedRedis._command
    with monkeypatch.context() as patch:
        patch.setattr(EmbeddedRedis, "_command", lambda self, program: [*command(self, program), "--no-such", "1"])
        with pytest.raises(QueueUnavailable, match="ended at once"):
            EmbeddedRedis(tmp_path).start()
    with EmbeddedRedis(tmp_path) as server, client_of(server) as client:
        assert client.get("kept") == b"yes"


def test_an_installed_server_is_preferred(tmp_path: Path) -> None:
    assert find_server().name == "valkey-server"
    assert find_server().parent != tmp_path
    installed = tmp_path / "redis-server"
    installed.write_text("#!/bin/sh\n")
    installed.chmod(0o755)
    assert find_server() == installed


def test_a_server_is_ready_when_start_returns(tmp_path: Path) -> None:
    began = time.monotonic()
    with EmbeddedRedis(tmp_path) as server, client_of(server) as client:
        client.set("a", "b")
    assert time.monotonic() - began < embedded_redis.READY_TIMEOUT_S
