"""Freed memory is kept: big buffers, made and freed again and again, cost page faults only the first time."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.process

FAULTS = """
import resource, sys
import numpy as np
from models.engine.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
np.ones(2**23)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    np.ones(2**23)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, mode], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is asked")
def test_kept_memory_is_not_faulted_in_again() -> None:
    assert faults("keep") * 10 < faults("default")
