"""What a format of slides is: how it is told by its bytes, and how it is opened."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import openslide
from tifffile import TiffFile

from workers.core.slide_schemas import Backend
from workers.core.slides.slide import PARSER_ERRORS, Slide
from workers.core.slides.tiff.directories import TIFF_MAGIC

TriedOn = Literal["a real file", "files made by script", "none"]
Strip = Literal["tiff", "dicom"]
"""Which of the two ways to take out what identifies a patient fits."""

HEAD_BYTES = 512


class Candidate:
    """A file that may be a slide. What detection looks at is looked up once.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def head(self) -> bytes:
        """The first bytes."""
        if not self.path.is_file():
            return b""
        with self.path.open("rb") as file:
            return file.read(HEAD_BYTES)

    @cached_property
    def openslide_vendor(self) -> str | None:
        """The name that OpenSlide has for the format, None if it knows none."""
        try:
            return openslide.OpenSlide.detect_format(self.path)
        except openslide.OpenSlideError:
            return None

    @property
    def is_tiff(self) -> bool:
        """Whether it begins as a TIFF does."""
        return self.head[:4] in TIFF_MAGIC

    @cached_property
    def description(self) -> str:
        """ImageDescription of a TIFF's first directory; empty if there is none."""
        if not self.is_tiff:
            return ""
        try:
            with TiffFile(self.path, _multifile=False) as file:
                return str(file.pages.first.description or "")
        except PARSER_ERRORS:
            return ""


@dataclass(frozen=True, slots=True)
class Format:
    """A family of files.

    Args:
        name: For programs, as in `SlideInfo.vendor`.
        title: For people.
        readers: What reads it, the first choice first.
        tried_on: On what the tests tried it; support is claimed for real files alone.
        detect: Tells a file of this format by its bytes.
        open: Opens one, and of several images in it the one that is named; raises SlideUnreadable.
        strip: How label, macro and identifying tags are taken out; None: this format is refused where that is wanted.
        has_several_files: A slide is more than one file.
        stored_tiles: Readers that show what the JPEG tiles of the file show, where those are levels of a TIFF, each
            tile where its number says: read by one of them, a slide's tiles may be passed on as they are.
        note: What a person has to know.
    """

    name: str
    title: str
    readers: tuple[Backend, ...]
    tried_on: TriedOn
    detect: Callable[[Candidate], bool]
    open: Callable[[Path, int | None], Slide]
    strip: Strip | None = None
    has_several_files: bool = False
    stored_tiles: tuple[Backend, ...] = ()
    note: str = ""
