"""Keep glibc from handing every freed activation back to the kernel.

Tensors of many megabytes are made and freed layer after layer. By default glibc maps each anew, and the kernel zeroes
its pages again each time: a good part of a CPU run is then spent in page faults. Kept memory is used again; the peak
stays what the largest moment needs.
"""

import ctypes
import sys
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_KEEP_BYTES: Final = 2**30


def keep_freed_memory() -> bool:
    """Raise glibc's thresholds for this process; say whether that was possible (it is on Linux with glibc)."""
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        return False
    return all(bool(libc.mallopt(option, _KEEP_BYTES)) for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD))
