"""Children that look at strangers' files get the processor after whoever answers requests."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

NICENESS: Final = 5
"""A third of the weight of others: with 10, a probe beside busy workers could run into its timeout, and a good upload
was refused.
"""


def step_back(pid: int) -> None:
    """Give a child, and what it forks, a lower priority; where the system does not let us, it stays as it is.

    A session of its own is scheduled as a group by some kernels (autogroup), whatever the niceness within it.
    """
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, NICENESS)
    with suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(NICENESS))


def queued_s(pid: int) -> float:
    """Return for how long the main thread of a process has waited for a processor; 0 where the kernel does not say."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0
