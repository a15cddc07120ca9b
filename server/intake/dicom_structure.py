"""Does a DICOM slide claim sizes that are too large? Looks at the headers of its instances, not at a pixel."""

from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError

from workers.core.errors.base import SlideTooLarge, SlideUnreadable
from workers.core.slides.size_limits import MAX_SIDE, check_count, check_pixels, check_tile
from workers.core.slides.slide import PARSER_ERRORS

TAGS = [
    *("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "NumberOfFrames"),
    *("TotalPixelMatrixColumns", "TotalPixelMatrixRows"),
]


def check_dicom(path: Path) -> None:
    """Check the numbers of an instance, and of all `original*.dcm` beside it: openslide opens them with it.

    Raises:
        SlideUnreadable: A header is damaged, or a number in it is none.
        SlideTooLarge: A frame, or the plane, is past the limits.
    """
    for instance in sorted({path, *path.parent.glob("original*.dcm")}):
        rows, columns, samples, bits, frames, *sides = _numbers(instance)
        check_tile("DICOM slide", columns, rows)
        check_pixels("DICOM slide", rows * columns, samples, bits)
        check_count("DICOM slide", frames)
        if max(sides) > MAX_SIDE:
            raise SlideTooLarge(
                "The slide has too many pixels on one side.", value=max(sides), accepted=f"at most {MAX_SIDE}"
            )


def _numbers(path: Path) -> list[int]:
    """Return what the header says of each of `TAGS`, 0 for what it leaves out."""
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(TAGS))
        found = [header.get(tag) for tag in TAGS]
    except (InvalidDicomError, EOFError, *PARSER_ERRORS) as error:
        raise SlideUnreadable("The header of this DICOM file is damaged.", value=path.name) from error
    for tag, value in zip(TAGS, found, strict=True):
        if not (value is None or (isinstance(value, int) and value >= 0)):
            raise SlideUnreadable(f"{tag} of this DICOM file is no number.", value=ascii(value)[:100])
    return [int(value or 0) for value in found]
