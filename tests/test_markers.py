"""A test without a marker that says so can start no process."""

import os
import subprocess
from collections.abc import Callable

import pytest
from markers import GUARD

WAYS: dict[str, Callable[[], object]] = {
    "subprocess": lambda: subprocess.run(["true"], check=False),
    "shell": lambda: os.system("true"),
    "spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}),
}


@pytest.mark.parametrize("way", WAYS)
def test_an_unmarked_test_starts_no_process(way: str) -> None:
    with pytest.raises(pytest.fail.Exception, match=r"test_markers.py.* started a process .*pytest.mark.process"):
        WAYS[way]()
    assert GUARD.said, "without it, a test that takes the failure for its own would pass"
    GUARD.said = None


@pytest.mark.process
def test_a_marked_test_starts_one() -> None:
    assert subprocess.run(["true"], check=False).returncode == 0
