"""Strips a slide of what identifies a patient: the label, the macro picture, names, dates and numbers in its tags.

`deidentify` is the parent's side. `python -m server.intake.deidentify` is the child's: it changes the files in place,
reads them again to see that it worked, and refuses the formats whose parts it does not know. Which those are, and which
of the two ways fits the others, is said by each format: `Format.strip`.
"""

import sys
from pathlib import Path

from server.intake.dicom_strip import strip_dicom
from server.intake.sandbox import limits_of, run_confined, serve_confined
from server.intake.tiff_strip import strip_tiff
from workers.core.errors.base import SlideUnreadable
from workers.core.errors.intake import DeidentifyRefused
from workers.core.frozen import Frozen
from workers.core.settings import Settings
from workers.core.slides.readers.base import Format
from workers.core.slides.readers.registry import FORMATS, format_of
from workers.core.slides.tiff.structure import check_tiff


class StripOrder(Frozen):
    """Which slide to strip."""

    name: str


class Stripped(Frozen):
    """What kind of slide it was."""

    vendor: str


def deidentify(path: Path, settings: Settings) -> Stripped:
    """Strip a slide in a child process with limits.

    Args:
        path: `original.*` in a folder of its own, which may be changed; after an error it is of no use. All other
            `original*` of a DICOM slide are stripped with it.
        settings: The limits.

    Raises:
        DeidentifyRefused: This cannot be done with this slide.
        SlideUnreadable: It is damaged, or it took too long.
    """
    order = StripOrder(name=path.name)
    limits = limits_of(settings, settings.upload_max_bytes, settings.unpack_timeout_s)
    return run_confined("server.intake.deidentify", order, Stripped, path.parent, limits, settings.unpack_timeout_s)


def deidentify_here(order: StripOrder) -> Stripped:
    """Strip a slide in the current folder: the child's work.

    Raises:
        DeidentifyRefused, SlideUnreadable.
    """
    path = Path(order.name)
    is_tiff = check_tiff(path)
    found = _format(path)
    if found is None or found.strip is None or is_tiff != (found.strip == "tiff"):  # a DICOM may be a TIFF as well
        raise DeidentifyRefused(
            "This server strips slides of what identifies a patient, and cannot do that with this format.",
            value=found.name if found else path.suffix,
            accepted=", ".join(each.title for each in FORMATS if each.strip),
        )
    if found.strip == "tiff":
        strip_tiff(path)
    else:
        strip_dicom(sorted(Path().glob("original*.dcm")))
    return Stripped(vendor=found.name)


def _format(path: Path) -> Format | None:
    try:
        return format_of(path)
    except SlideUnreadable:  # of no format that is known; the refusal is the one of those that cannot be stripped
        return None


if __name__ == "__main__":
    sys.exit(serve_confined(sys.argv[1:], StripOrder, deidentify_here))
