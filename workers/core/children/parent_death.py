"""Child processes that do not outlive the process that started them, however it ended."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(death_signal: signal.Signals = signal.SIGKILL) -> Callable[[], None]:
    """Return a `preexec_fn` for `subprocess.Popen`: Linux signals the child once its parent is gone, even by SIGKILL.

    The kernel looks at the *thread* that starts the child: start it from one that lives as long as the process.
    Elsewhere than on Linux the function does nothing.
    """
    parent = os.getpid()

    def tie() -> None:
        # Runs between fork and exec: nothing but system calls here.
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)  # the parent went before the kernel knew what to do about it

    return tie
