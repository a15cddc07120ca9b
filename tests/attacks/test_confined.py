"""Each rule of a confined child, tried from inside it: refused with the rule, and let without it.

The second half is what says that the first half can fail.
"""

import os
import select
from pathlib import Path

import pytest
from hostile_acts import Order, Report

from server.intake.sandbox import run_confined
from workers.core.confinement import lock
from workers.core.confinement.files import landlock_version
from workers.core.confinement.lock import LIBC, Limits
from workers.core.confinement.system_calls import known_machine
from workers.core.errors.base import SlideUnreadable
from workers.core.errors.intake import ConfinementFailed

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not known_machine(), reason="the filter does not know the calls of this machine"),
]

LIMITS = Limits(cpu_s=10, memory_bytes=2**31)
REFUSED = ("EPERM", "EACCES", "ENOSYS", "ENOMEM")

BY_RULE = {
    "network": ("make_socket", "make_ring"),
    "others": ("trace", "read_memory", "write_memory", "hold_process", "take_file", "limit_parent"),
    "processes": ("fork", "fork_newly"),
    "programs": ("run", "run_file"),
    "signals": ("signal_parent", "signal_all", "signal_thread", "queue_signal"),
    "system": ("enter_namespace", "ask_kernel"),
    "files": ("read_elsewhere", "list_elsewhere", "read_of_system", "read_of_parent", "write_here"),
    "unseen": ("show_itself",),
    "capabilities": ("keep_capabilities",),
    "usage": ("take_memory",),
}
EVERYTHING = [(rule, act) for rule, acts in BY_RULE.items() for act in acts]
ALSO_BY = {"make_ring": ("ENOSYS", "EPERM")}
"""What an act says without its rule where a system of its own refuses it, too: some turn io_uring off."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a slide, beside that of another."""
    for name in ("mine", "theirs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name)
    return tmp_path / "mine"


def attempt(act: str, folder: Path, *without: str) -> str:
    order = Order(act=act, without=without, elsewhere=str(folder.parent / "theirs" / "theirs"))
    return run_confined("tests.fixtures.hostile_acts", order, Report, folder, LIMITS, 60).found


def skip_without(rule: str) -> None:
    if rule == "files" and landlock_version(LIBC) < 1:
        pytest.skip("this kernel has no Landlock")


def test_every_rule_is_tried() -> None:
    assert set(BY_RULE) | {"namespace"} == lock.RULES  # the namespace: tests/server/intake/test_locked_in.py


@pytest.mark.parametrize(("rule", "act"), EVERYTHING)
def test_what_a_rule_forbids_is_refused(folder: Path, rule: str, act: str) -> None:
    skip_without(rule)
    assert attempt(act, folder) in REFUSED


@pytest.mark.parametrize(("rule", "act"), EVERYTHING)
def test_it_is_this_rule_that_refuses_it(folder: Path, rule: str, act: str) -> None:
    skip_without(rule)
    if rule == "capabilities" and os.geteuid() != 0:
        pytest.skip("only root has any for sure")
    left = attempt(act, folder, rule, *(("namespace",) if rule == "unseen" else ()))
    assert left not in REFUSED or left in ALSO_BY.get(act, ())


def test_what_a_child_needs_is_left(folder: Path) -> None:
    assert attempt("live", folder) == "done"


def test_a_crash_is_a_crash(folder: Path) -> None:
    with pytest.raises(SlideUnreadable, match="signal 6"):
        attempt("abort", folder)


def test_no_grandchild_outlives_the_child(folder: Path) -> None:
    os.mkfifo(folder / "alive")
    file = os.open(folder / "alive", os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert attempt("fork", folder, "processes", "files") == "done"  # even if it could be made
        assert select.select([file], [], [], 30)[0]
        assert os.read(file, 1) == b""  # nobody holds the other end
    finally:
        os.close(file)


def test_root_without_landlock_reads_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("_limit_usage", "leave_network", "drop_capabilities", "refuse_calls"):
        monkeypatch.setattr(lock, name, lambda *_: True)
    monkeypatch.setattr(lock, "LIBC", type("Libc", (), {"prctl": lambda *_: 0}))
    monkeypatch.setattr(lock, "leave_files", lambda *_, **__: False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(ConfinementFailed, match="runs as root"):
        lock.lock_in(LIMITS, tmp_path)
    lock.lock_in(LIMITS.model_copy(update={"bare_root": True}), tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 10001)
    lock.lock_in(LIMITS, tmp_path)
