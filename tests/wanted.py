"""Programs that some tests want beside Python: absent, their tests are skipped, or fail where they must not be."""

import os
import shutil
from typing import NoReturn

import pytest

REQUIRE = "LDIFFUSION_TEST_REQUIRE"
"""Environment variable: the programs, with commas between, without which no test may be skipped."""


def program(name: str) -> str:
    """Return the path of a program; where it is not there, end as `absent` does."""
    return shutil.which(name) or absent(name, f"no {name} on the path")


def absent(name: str, reason: str) -> NoReturn:
    """Skip the test because something of a program is not there; fail it where the program is required."""
    if name in os.environ.get(REQUIRE, "").split(","):
        pytest.fail(f"{REQUIRE} names {name}: {reason}", pytrace=False)
    pytest.skip(reason)
