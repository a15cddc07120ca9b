"""Groovy, for tests of what runs in it."""

import os
from pathlib import Path

from wanted import program


def groovy() -> tuple[str, dict[str, str]]:
    """Return the command and its environment, or end the test as `wanted.program` does.

    Distributions look for Java where their own package puts it; here it is the one on the path.
    """
    command, java = program("groovy"), Path(program("java")).resolve()
    return command, {**os.environ, "JAVA_HOME": str(java.parents[1])}
