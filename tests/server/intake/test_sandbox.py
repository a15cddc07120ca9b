"""A child that looks at a stranger's file can use up nothing, reach nobody, and say only what it may say."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from confined_acts import Order, Report

from server.intake import sandbox
from server.intake.sandbox import may_lack_memory, run_confined
from workers.core.confinement import lock
from workers.core.confinement.lock import Limits
from workers.core.confinement.system_calls import known_machine
from workers.core.errors.base import SlideUnreadable
from workers.core.errors.intake import ConfinementFailed

pytestmark = pytest.mark.process

LIMITS = Limits(cpu_s=2, memory_bytes=2**31, may_write=True)


def act(name: str, folder: Path, timeout_s: float = 60) -> str:
    return run_confined("tests.fixtures.confined_acts", Order(act=name), Report, folder, LIMITS, timeout_s).found


@pytest.mark.parametrize(
    ("name", "words", "may_lack"),
    [
        ("spin", "signal", False),  # SIGXCPU, or SIGKILL a moment later
        ("hoard", "more memory", True),
        ("write", "gave up", True),
        ("open_many", "gave up", True),
        ("fail", "internal detail of ours", False),
    ],
)
def test_what_is_too_much_is_a_refusal(tmp_path: Path, name: str, words: str, may_lack: bool) -> None:
    with pytest.raises(SlideUnreadable, match=words) as caught:
        act(name, tmp_path)
    assert may_lack_memory(caught.value) == may_lack
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= lock.OUTPUT_MAX_BYTES


def test_time_is_limited_by_the_clock_too(tmp_path: Path) -> None:
    with pytest.raises(SlideUnreadable, match="took more than"):
        act("spin", tmp_path, 0.2)


def test_what_it_waits_for_a_processor_is_not_counted_up_to_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "queued_s", lambda _pid: 1e6)
    started = time.monotonic()
    with pytest.raises(SlideUnreadable, match=r"took more than 0\.02"):
        act("spin", tmp_path, 0.02)
    assert time.monotonic() - started >= 0.02 * sandbox.BUSY_FACTOR


def test_no_socket_can_be_made(tmp_path: Path) -> None:
    if not known_machine():
        pytest.skip("the filter does not know the calls of this machine")
    assert act("call_out", tmp_path) == "PermissionError PermissionError PermissionError x"


def test_the_environment_holds_nothing_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LDIFFUSION_REDIS_URL", "redis://:secret@host")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert not {"LDIFFUSION_REDIS_URL", "AWS_SECRET_ACCESS_KEY", "HOME"} & set(act("look_around", tmp_path).split())


UNCONFINED = """
import sys
from tests.fixtures.confined_acts import Order, work
from server.intake import sandbox
from workers.core.confinement import lock
for name in {patched!r}:
    if name == "LIBC":
        lock.LIBC = type("libc", (), {{"prctl": lambda *arguments: -1}})
    else:
        setattr(lock, name, lambda *arguments: False)
sys.exit(sandbox.serve_confined(sys.argv[-2:], Order, work))
"""


@pytest.mark.parametrize(
    ("patched", "sentence"),
    [
        (("leave_network",), ""),
        (("refuse_calls",), ""),
        (("leave_network", "refuse_calls"), "neither gives an empty network namespace nor takes a seccomp filter"),
        (("LIBC",), "give up new privileges"),
    ],
    ids=str,
)
def test_a_child_that_cannot_be_locked_in_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patched: tuple[str, ...], sentence: str
) -> None:
    if patched == ("refuse_calls",) and subprocess.run(["unshare", "-rn", "true"], check=False).returncode != 0:
        pytest.skip("this kernel gives no network namespace")
    if patched == ("leave_network",) and not known_machine():
        pytest.skip("the filter does not know the calls of this machine")
    script, python = tmp_path / "child.py", tmp_path / "python"
    script.write_text(UNCONFINED.format(patched=patched))
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {script} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    if sentence:
        with pytest.raises(ConfinementFailed, match=sentence):
            act("touch", tmp_path)
    else:
        act("touch", tmp_path)
    assert (tmp_path / "touched").exists() == (not sentence)


PARENT = """
import sys
import time
from pathlib import Path
from tests.fixtures.confined_acts import Order, Report
from server.intake import sandbox
from server.intake.sandbox import may_lack_memory, run_confined
from workers.core.confinement.lock import Limits
limits = Limits(cpu_s=9, memory_bytes=2**31, may_write=True)
run_confined("tests.fixtures.confined_acts", Order(act="linger"), Report, Path.cwd(), limits, 60)
"""


def test_the_child_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "alive")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    with (
        subprocess.Popen([sys.executable, "-c", PARENT], cwd=tmp_path, env=environment) as parent,
        (tmp_path / "alive").open("rb") as held,  # opens once the child has
    ):
        parent.kill()
        assert held.read() == b""  # would hang for ever if the child lived on
