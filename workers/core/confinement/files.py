"""Landlock: of all files the kernel leaves a confined process one folder, and what Python needs to load libraries."""

import ctypes
import os
import struct
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION, _PATH_BENEATH = 1, 1
_WRITE_FILE, _READ_FILE, _READ_DIR, _TRUNCATE = 1 << 1, 1 << 2, 1 << 3, 1 << 14
_RIGHTS = {1: 1 << 13, 2: 1 << 14, 3: 1 << 15}
"""Version → the first right that it does not know: of moving to other folders, of truncating, of calls to devices."""

_ALL_RIGHTS = 1 << 15
_OF_FILES = _WRITE_FILE | _READ_FILE | _TRUNCATE
_READ = _READ_FILE | _READ_DIR

_CODE = Path(__file__).resolve().parents[3]
_OURS = ("server", "workers", "models")
_SYSTEM = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64", "/usr/share", "/etc/ld.so.cache")
_DEVICES = ("/dev/null", "/dev/urandom", "/dev/zero")


def landlock_version(libc: ctypes.CDLL) -> int:
    """Return the version of Landlock that the kernel has; below 1 it has none."""
    return int(libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION))


def leave_files(libc: ctypes.CDLL, folder: Path, *, may_write: bool, also_reads: Iterable[str] = ()) -> bool:
    """Give up all files but those of a folder and of libraries, for good; say whether the kernel took it.

    Files that are open stay so. Needs that the process has given up new privileges.

    Args:
        libc: The C library.
        folder: Stays readable.
        may_write: In the folder, too.
        also_reads: Files that stay readable.
    """
    version = landlock_version(libc)
    if version < 1:
        return False
    handled = _RIGHTS.get(version, _ALL_RIGHTS) - 1
    attributes = struct.pack("=Q", handled)
    rules = int(libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0))
    if rules < 0:
        return False
    try:
        for path in _libraries():
            _allow(libc, rules, path, _READ)
        for path in map(Path, also_reads):
            _allow(libc, rules, path, _READ)
        for path in map(Path, _DEVICES):
            _allow(libc, rules, path, _READ | _WRITE_FILE)
        is_open = _allow(libc, rules, folder, handled if may_write else _READ)
        return is_open and libc.syscall(_RESTRICT_SELF, rules, 0) == 0
    finally:
        os.close(rules)


def _libraries() -> Iterable[Path]:
    installed = (sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    prefixes = (str(Path(each) / "lib") for each in (sys.prefix, sys.base_prefix))
    return map(Path, dict.fromkeys((*installed, *prefixes, *_SYSTEM, *(str(_CODE / each) for each in _OURS))))


def _allow(libc: ctypes.CDLL, rules: int, path: Path, rights: int) -> bool:
    """Allow something below a path, nothing if it is not there; say whether it is allowed."""
    try:
        file = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        wanted = rights if path.is_dir() else rights & _OF_FILES
        return bool(libc.syscall(_ADD_RULE, rules, _PATH_BENEATH, struct.pack("=Qi", wanted, file), 0) == 0)
    finally:
        os.close(file)
