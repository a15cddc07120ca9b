"""Gives freed memory back to the kernel, where a process holds more of it than a job was said to take.

Freed activations are kept, because pages of the kernel cost time (`models.engine.allocator`). Where tiles of many sizes
follow each other the gaps between what is kept add up; given back before a forward pass, they begin anew.
"""

import ctypes
import sys

from workers.process.watchdog import private_bytes


def give_back(above_bytes: int = 0) -> bool:
    """Give back what is free in the heap if the process holds more than so much; say whether anything was done."""
    if private_bytes() <= above_bytes or not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    return hasattr(libc, "malloc_trim") and bool(libc.malloc_trim(0))
