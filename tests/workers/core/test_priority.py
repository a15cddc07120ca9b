"""A child that steps back: by its niceness, and by that of its session where the kernel has one."""

import os
import subprocess
from pathlib import Path

import pytest

from workers.core.children.priority import NICENESS, step_back

pytestmark = pytest.mark.process


def test_a_child_and_its_session_step_back() -> None:
    child = subprocess.Popen(["/bin/sleep", "60"], start_new_session=True)
    try:
        step_back(child.pid)
        assert os.getpriority(os.PRIO_PROCESS, child.pid) >= NICENESS
        group = Path(f"/proc/{child.pid}/autogroup")
        if group.exists() and group.read_text().strip():
            assert group.read_text().split()[-1] == str(NICENESS)
    finally:
        child.kill()
        child.wait()


def test_a_child_that_is_gone_is_left_alone() -> None:
    child = subprocess.Popen(["/bin/true"])
    child.wait()
    step_back(child.pid)
