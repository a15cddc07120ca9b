"""Is the library that parses strangers' slides one whose known faults are mended? Asked when a process starts."""

import re
from importlib.metadata import PackageNotFoundError, version

import openslide

from workers.core.errors.intake import ReaderOutdated

OPENSLIDE_MIN = "4.0.1"
"""Before: a crafted BIF writes anywhere in memory, and pixels may be what the memory held before."""

WHEEL, WHEEL_MIN = "openslide-bin", "4.0.1.2"
"""Before: the bottom row of tiles may be damaged, and the bundled libraries have faults of their own."""


def check_readers() -> None:
    """Refuse to run with an OpenSlide that a crafted slide can take over.

    Raises:
        ReaderOutdated: The library is too old, or the wheel it came in, if it did.
    """
    _check("OpenSlide", openslide.__library_version__, OPENSLIDE_MIN)
    try:
        wheel = version(WHEEL)
    except PackageNotFoundError:  # the library is the system's
        return
    _check(WHEEL, wheel, WHEEL_MIN)


def _check(name: str, found: str, least: str) -> None:
    if _numbers(found) < _numbers(least):
        raise ReaderOutdated(
            f"{name} {found} has faults that a crafted slide can use; this process does not start with it.",
            value=found,
            accepted=f"{name} {least} or later: `pip install --upgrade {WHEEL}`",
        )


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]
