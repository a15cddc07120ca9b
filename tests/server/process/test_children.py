"""Processes that are started again: their pauses, what counts as sound, who is given up."""

import os
import signal
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from server.process.children import CRASHES_MAX, STEADY_S, Child, module_environment
from workers.core.errors.base import Unavailable
from workers.core.settings import Settings

pytestmark = pytest.mark.process

WAIT_S = 30.0


def ending_child(status: int = 3) -> Child:
    return Child("made", [sys.executable, "-c", f"raise SystemExit({status})"], dict(os.environ))


def let_it_end(child: Child) -> None:
    assert child.process is not None
    child.process.wait(WAIT_S)


def test_a_child_reads_the_settings_that_it_was_given_the_secret_one_among_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = Settings(data_dir=tmp_path, storage_secret_access_key="as-it-is", slide_cache="2GiB", lease_s=0.5)
    for name, value in module_environment(given).items():
        monkeypatch.setenv(name, value)
    assert Settings() == given
    assert Settings().storage_secret_access_key.get_secret_value() == "as-it-is"


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


def test_a_child_that_is_proved_sound_is_never_given_up() -> None:
    child, now = ending_child(), 1000.0
    child.prove()
    for _ in range(CRASHES_MAX + 2):
        child.tend(now)
        let_it_end(child)
        child.tend(now)
        now += 30.0  # the longest pause
    child.tend(now)
    assert child.crashes == CRASHES_MAX + 2
    assert child.process is not None
    let_it_end(child)


def test_a_child_that_lived_long_is_forgiven() -> None:
    child, now = ending_child(), 1000.0
    for _ in range(CRASHES_MAX + 2):
        child.tend(now)
        let_it_end(child)
        now += STEADY_S + 1
        child.tend(now)
        assert child.crashes == 1
        now += 1


@pytest.mark.parametrize(("first", "is_sound"), [("os.write(int(sys.argv[-1]), b'w' * 32)", True), ("pass", False)])
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
    assert ends == ([("w" * 32, -signal.SIGKILL)] * CRASHES_MAX if is_sound else [])


def test_a_child_that_has_worked_once_is_never_given_up(tmp_path: Path) -> None:
    code = f"""if True:
        import os, pathlib, sys
        try:
            pathlib.Path({str(tmp_path / "worked")!r}).touch(exist_ok=False)
            os.write(int(sys.argv[-1]), b"w" * 32)
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
