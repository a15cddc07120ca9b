"""The names in a MIRAX slide: its Slidedat.ini says which files hold the pixels, and could name any file of the server.

slide.mrxs                       a picture for the file manager
slide/Slidedat.ini               names of the others, and all numbers
slide/Index.dat, Data0000.dat …  where the tiles lie; the tiles
"""

import re
from pathlib import Path

from workers.core.errors.base import SlideUnreadable
from workers.core.slides.size_limits import check_count, check_tile

EXTENSION = ".mrxs"
TABLE = "Slidedat.ini"
TABLE_MAX_BYTES = 2**20
"""As much as openslide reads of it."""

PART = re.compile(r"(?:Index|Data[0-9]{1,8})\.dat", re.IGNORECASE)
"""What a file beside the table may be called."""

_NAMING_KEY = re.compile(rb"INDEXFILE|FILE_[0-9]+")
_NUMBER = re.compile(rb"[0-9]{1,9}")


def check_mirax(path: Path) -> None:
    """Check that a MIRAX slide has its folder, that every file it names lies there, and how large its tiles are.

    Args:
        path: The `.mrxs` file.

    Raises:
        SlideUnreadable: The folder or a file is missing, a name is none of a file in the folder, or a size no number.
        SlideTooLarge: Its tiles are past the limits.
    """
    folder = path.with_suffix("")
    table = folder / TABLE
    if not table.is_file():
        raise SlideUnreadable("The folder of this MIRAX slide is missing.", value=path.name, accepted=TABLE)
    if table.stat().st_size > TABLE_MAX_BYTES:
        raise SlideUnreadable(f"{TABLE} is too large.", accepted=f"at most {TABLE_MAX_BYTES} bytes")
    content = table.read_bytes()
    _check_sizes(content)
    for name in named_files(content):
        if not PART.fullmatch(name) or not (folder / name).is_file():
            raise SlideUnreadable(f"{TABLE} names a file that is not there.", value=name[:100], accepted="Data0000.dat")


def named_files(table: bytes) -> list[str]:
    """Return every name that a reader could take for that of a file, in whichever section."""
    return [value.decode("latin-1") for value in _values(table, _NAMING_KEY)]


def _check_sizes(table: bytes) -> None:
    width, height, columns, rows = (
        max(map(_number, _values(table, re.compile(key))), default=0)
        for key in (b"DIGITIZER_WIDTH", b"DIGITIZER_HEIGHT", b"IMAGENUMBER_X", b"IMAGENUMBER_Y")
    )
    check_tile("MIRAX slide", width, height)
    check_count("MIRAX slide", columns * rows)


def _number(value: bytes) -> int:
    if not _NUMBER.fullmatch(value):
        raise SlideUnreadable(f"A size in {TABLE} is no number.", value=ascii(value[:100]))
    return int(value)


def _values(table: bytes, key: re.Pattern[bytes]) -> list[bytes]:
    """Return the values of all lines whose key matches, in whichever section.

    Lines are taken as GLib takes them, whose parser openslide uses; no line can hide from this and be seen by it.
    """
    found = []
    for line in table.split(b"\n"):
        name, equals, value = line.partition(b"=")
        if equals and key.fullmatch(name.strip().removeprefix(b"\xef\xbb\xbf").strip()):
            found.append(value.strip())
    return found
