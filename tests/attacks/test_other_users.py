"""Another user of the machine looks into what the server writes: nothing is theirs to read, whatever the umask was."""

import os
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.cli.keys import keys
from server.process.children import module_command, module_environment
from workers.core.command_line import run
from workers.core.confinement.private import make_private, stay_private
from workers.core.errors.base import RequestInvalid
from workers.core.settings import Settings

WAIT_S = 60.0


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """No umask at all while the test runs."""
    before = os.umask(0)
    yield
    os.umask(before)


def open_to_others(folder: Path) -> list[str]:
    """Return all that other users may read, write or enter, if the folder itself let them in."""
    found = [folder, *folder.rglob("*")]
    return [str(path) for path in found if not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) & 0o077]


def family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in family(int(child)))]


def umask_of(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Umask:")).split()[1], 8)


@pytest.mark.process
@pytest.mark.slow
def test_no_process_of_the_server_makes_a_file_for_others(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    command = module_command("server.cli.main", "serve", "--data-dir", str(data), "--port", "0", "--workers", "0")
    with subprocess.Popen(command, env=module_environment(), stderr=subprocess.PIPE, text=True) as server:
        try:
            deadline = time.monotonic() + WAIT_S
            while not (data / "server.json").exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            masks = {pid: umask_of(pid) for pid in family(server.pid)}
            assert len(masks) >= 4  # the supervisor, the queue, the gateway, what makes tile children
            assert set(masks.values()) == {0o077}
            assert open_to_others(data) == []
        finally:
            server.send_signal(signal.SIGTERM)
            said = server.communicate(timeout=WAIT_S)[1]
    assert said.count("let other users in (mode 0755)") == 1


@pytest.mark.process
@pytest.mark.slow
def test_a_worker_closes_the_folder_and_makes_nothing_for_others(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o777)
    data.chmod(0o777)
    settings = Settings(data_dir=data, redis_url=f"unix://{tmp_path}/none.sock")
    done = subprocess.run(
        module_command("workers"), env=module_environment(settings), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert (data / "slides").is_dir()
    assert open_to_others(data) == []
    assert done.stderr.count("let other users in (mode 0777)") == 1


def test_a_command_that_makes_a_key_makes_it_for_nobody_else(tmp_path: Path) -> None:
    run(keys, "ldiffusion keys", ["create", "one", "--data-dir", str(tmp_path / "data")])
    assert (tmp_path / "data" / "keys.json").exists()
    assert open_to_others(tmp_path / "data") == []


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o755)
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    with pytest.raises(RequestInvalid, match="another user"):
        make_private(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_a_closed_folder_is_left_and_not_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_private(tmp_path / "a" / "b")
    make_private(tmp_path / "a" / "b")
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    assert caplog.records == []
    (tmp_path / "file").touch()
    with pytest.raises(RequestInvalid, match="cannot be made"):
        make_private(tmp_path / "file")


def test_the_umask_is_for_the_owner_alone() -> None:
    stay_private()
    assert os.umask(0) == 0o077
