"""PerkinElmer QPTIFF: bright field as a pyramid, or a directory for every channel of every level."""

from pathlib import Path

from workers.core.slides.readers.base import Candidate, Format
from workers.core.slides.readers.tiff.pictures import QPI
from workers.core.slides.readers.tiff.reader import open_tiff
from workers.core.slides.slide import Slide


def _is_qptiff(candidate: Candidate) -> bool:
    return candidate.is_tiff and QPI in candidate.description and candidate.openslide_vendor in (None, "generic-tiff")


def _open(path: Path, image: int | None) -> Slide:
    slide = open_tiff(path, image)
    slide.vendor = FORMAT.name
    return slide


FORMAT = Format(
    name="qptiff",
    title="PerkinElmer QPTIFF",
    readers=("openslide", "tiffslide", "tifffile"),
    tried_on="files made by script",
    detect=_is_qptiff,
    open=_open,
    strip="tiff",
    note="8 bits; the first three channels, or the first alone of a de-identified one",
)
