"""A child that steps back: by its niceness, and by that of its session where the kernel has one."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workers.core.children.priority import NICENESS, queued_s, step_back

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


def test_what_others_have_of_the_processor_is_time_in_the_queue() -> None:
    here = min(os.sched_getaffinity(0))
    spin = f"import os\nos.sched_setaffinity(0, {{{here}}})\nwhile True: pass"
    children = [subprocess.Popen([sys.executable, "-c", spin], start_new_session=True) for _ in range(2)]
    try:
        deadline = time.monotonic() + 20
        while min(queued_s(child.pid) for child in children) < 0.2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        for child in children:
            child.kill()
            child.wait()
    assert queued_s(children[0].pid) == 0.0  # it is gone
