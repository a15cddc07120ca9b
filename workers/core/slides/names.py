"""What a client may call a slide, and the extension it is stored under."""

import re
import unicodedata
from pathlib import Path

from workers.core.errors.base import RequestInvalid
from workers.core.errors.intake import SlideSetIncomplete
from workers.core.slides import mirax
from workers.core.slides.tiff.directories import TIFF_MAGIC
from workers.core.text import printable

ARCHIVE = ".zip"
"""A slide of several files: see `server.intake.slide_sets`."""

EXTENSIONS = (".svs", ".tif", ".tiff", ".ndpi", ".scn", ".bif", ".svslide", ".dcm", ARCHIVE)
SETS_OF_FILES = (".vms", ".vmu")
ACCEPTED = (
    f"one file named {', '.join(EXTENSIONS)}; or by any other name, if its bytes are a TIFF, DICOM or zip, PNG or JPEG"
)
FILENAME_MAX = 200
MAGIC = {b"PK\3\4": ARCHIVE, b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg"} | dict.fromkeys(TIFF_MAGIC, ".tif")
NOT_READ = {b"ZISRAWFILE": "Zeiss CZI"}
"""First bytes of formats that people have and that no reader here reads, so that they are refused by name."""

DICOM_MAGIC = slice(128, 132)
JUNK = re.compile(r"(?:__MACOSX/.*|(?:.*/)?(?:\.DS_Store|\._[^/]*|Thumbs\.db|desktop\.ini))", re.IGNORECASE)
"""What file managers put into archives unasked: never looked at, and no reason to refuse."""


def display_name(filename: str) -> str:
    """Return the last component of a file name, fit to be shown and written: no path, no control characters, UTF-8."""
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", printable(filename)))[-1]
    shown = "".join(letter for letter in last if unicodedata.category(letter)[0] != "C").strip()
    if shown in ("", ".", ".."):
        return "slide"
    stem, dot, extension = shown.rpartition(".")
    return shown if len(shown) <= FILENAME_MAX else f"{stem[: FILENAME_MAX - 20]}{dot}{extension[:19]}"


def extension_of(name: str) -> str | None:
    """Return the extension a slide is stored under, None if its bytes must say it: see `sniff_extension`.

    Raises:
        RequestInvalid: It is one of several files that are never taken.
        SlideSetIncomplete: It is one file of a slide of several.
    """
    extension = Path(name).suffix.lower()
    if extension == mirax.EXTENSION:
        raise SlideSetIncomplete(
            f"{name} comes without its folder {Path(name).stem}, which holds the pixels.",
            value=name,
            accepted=f"one zip of {name} and the folder {Path(name).stem}",
        )
    if extension in SETS_OF_FILES:
        raise RequestInvalid(
            f"{extension} slides are sets of files that are not taken, zipped or not.", value=name, accepted=ACCEPTED
        )
    return extension if extension in EXTENSIONS else None


def sniff_extension(head: bytes, name: str) -> str:
    """Return the extension for a file whose name has none that is known, from its first bytes.

    Raises:
        RequestInvalid: They are those of no slide format.
    """
    if head[DICOM_MAGIC] == b"DICM":
        return ".dcm"
    for magic, title in NOT_READ.items():
        if head.startswith(magic):
            raise RequestInvalid(f"{title} is not read here; export it as OME-TIFF.", value=name, accepted=ACCEPTED)
    found = next((extension for magic, extension in MAGIC.items() if head.startswith(magic)), None)
    if found is None:
        raise RequestInvalid("Neither the name nor the bytes are those of a slide.", value=name, accepted=ACCEPTED)
    return found
