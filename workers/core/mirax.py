"""The names in a MIRAX slide: its Slidedat.ini says which files hold the pixels, and could name any file of the server.

slide.mrxs                       a picture for the file manager
slide/Slidedat.ini               names of the others, and all numbers
slide/Index.dat, Data0000.dat …  where the tiles lie; the tiles
"""

import re
from pathlib import Path

from workers.core.errors import SlideUnreadable

EXTENSION = ".mrxs"
TABLE = "Slidedat.ini"
TABLE_MAX_BYTES = 2**20
"""As much as openslide reads of it."""

PART = re.compile(r"(?:Index|Data[0-9]{1,8})\.dat", re.IGNORECASE)
"""What a file beside the table may be called."""

_NAMING_KEY = re.compile(rb"INDEXFILE|FILE_[0-9]+")


def check_mirax(path: Path) -> None:
    """Check that a MIRAX slide has its folder, and that every file it names lies there.

    Args:
        path: The `.mrxs` file.

    Raises:
        SlideUnreadable: The folder or a file is missing, or a name is none of a file in the folder.
    """
    folder = path.with_suffix("")
    table = folder / TABLE
    if not table.is_file():
        raise SlideUnreadable("The folder of this MIRAX slide is missing.", value=path.name, accepted=TABLE)
    if table.stat().st_size > TABLE_MAX_BYTES:
        raise SlideUnreadable(f"{TABLE} is too large.", accepted=f"at most {TABLE_MAX_BYTES} bytes")
    for name in named_files(table.read_bytes()):
        if not PART.fullmatch(name) or not (folder / name).is_file():
            raise SlideUnreadable(f"{TABLE} names a file that is not there.", value=name[:100], accepted="Data0000.dat")


def named_files(table: bytes) -> list[str]:
    """Return every name that a reader could take for that of a file, in whichever section.

    Lines are taken as GLib takes them, whose parser openslide uses; no line can hide from this and be seen by it.
    """
    names = []
    for line in table.split(b"\n"):
        key, equals, value = line.partition(b"=")
        if equals and _NAMING_KEY.fullmatch(key.strip().removeprefix(b"\xef\xbb\xbf").strip()):
            names.append(value.strip().decode("latin-1"))
    return names
