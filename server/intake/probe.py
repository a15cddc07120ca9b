"""Opens a stranger's slide in a child process with limits, so that a hostile file can harm nothing but the child.

`probe` is the parent's side. `python -m server.intake.probe` is the child's: it checks the structure, opens the slide,
checks its numbers, then decodes three places of every level.
"""

import sys
from pathlib import Path

from server.intake.sandbox import limits_of, run_confined, serve_confined
from workers.core.errors.base import SlideTooLarge, SlideUnreadable
from workers.core.frozen import Frozen
from workers.core.settings import Settings
from workers.core.slide_schemas import Backend, Modality, SlideContent, SlideGeometry, TrustWarning
from workers.core.slides.doubts import doubts_of
from workers.core.slides.mirax import EXTENSION as MIRAX_EXTENSION
from workers.core.slides.mirax import check_mirax
from workers.core.slides.modality import modality_of_file
from workers.core.slides.readers.registry import open_slide
from workers.core.slides.size_limits import MAX_SIDE
from workers.core.slides.slide import Slide
from workers.core.slides.tiff.structure import check_tiff

MAX_LEVELS = 64
TILE_PX = 256

SEVERAL_FILES = ("mirax", "hamamatsu")
"""Formats whose first part says where the others lie: it could name any file of the server. NDPI is a TIFF, and of
`mirax` it is checked before it is opened."""


class ProbeReport(Frozen):
    """What a probe found."""

    vendor: str
    backend: Backend
    geometry: SlideGeometry
    content: SlideContent
    warnings: tuple[TrustWarning, ...]
    modality: Modality


class ProbeOrder(Frozen):
    """What to open, and how many level-0 pixels it may have."""

    name: str
    max_pixels: int


def probe(path: Path, settings: Settings, memory_bytes: int | None = None) -> ProbeReport:
    """Open a slide and read a few places of every level in a child process with limits.

    Args:
        path: The slide's first file.
        settings: The other limits.
        memory_bytes: What the child may have; None: all that the settings let probes have.

    Raises:
        SlideUnreadable: No reader takes the file, it is cut off, or the child crashed or ran out of time or memory.
        SlideTooLarge: The slide's own numbers are past the limits.
    """
    order = ProbeOrder(name=path.name, max_pixels=settings.slide_max_pixels)
    limits = limits_of(settings)
    if memory_bytes is not None:
        limits = limits.model_copy(update={"memory_bytes": memory_bytes})
    return run_confined("server.intake.probe", order, ProbeReport, path.parent, limits, settings.probe_timeout_s)


def examine(path: Path, max_pixels: int) -> ProbeReport:
    """Check the structure, open the slide, check its numbers, decode three places of every level: the child's work.

    Raises:
        SlideUnreadable: The file is damaged, cut off or no slide.
        SlideTooLarge: The slide's own numbers are past the limits.
    """
    is_checked = check_tiff(path)
    if path.suffix.lower() == MIRAX_EXTENSION:
        check_mirax(path)
        is_checked = True
    if _is_dicom(path):  # it may be a TIFF as well
        from server.intake.dicom_structure import check_dicom  # noqa: PLC0415  other slides need no pydicom

        check_dicom(path)
    with open_slide(path) as slide:
        if slide.vendor in SEVERAL_FILES and not is_checked:
            raise SlideUnreadable(
                "This file is one part of a slide of several files, and names the others itself.",
                value=slide.vendor,
                accepted="a slide that is one file",
            )
        _check_numbers(slide.geometry, max_pixels)
        _decode_places(slide)
        return ProbeReport(
            vendor=slide.vendor,
            backend=slide.backend,
            geometry=slide.geometry,
            content=slide.content,
            warnings=(*slide.warnings, *doubts_of(path)),
            modality=modality_of_file(path),
        )


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _check_numbers(geometry: SlideGeometry, max_pixels: int) -> None:
    claims = (
        ("pixels", geometry.l0_width * geometry.l0_height, max_pixels),
        ("pixels on one side", max(geometry.l0_width, geometry.l0_height), MAX_SIDE),
        ("levels", len(geometry.levels), MAX_LEVELS),
    )
    for name, value, limit in claims:
        if value > limit:
            raise SlideTooLarge(f"The slide has too many {name}.", value=value, accepted=f"at most {limit}")


def _decode_places(slide: Slide) -> None:
    for level, size in enumerate(slide.geometry.levels):
        last_x, last_y = max(size.width - TILE_PX, 0), max(size.height - TILE_PX, 0)
        for lv_x, lv_y in sorted({(0, 0), (last_x // 2, last_y // 2), (last_x, last_y)}):
            slide.read_level(level, lv_x, lv_y, min(TILE_PX, size.width), min(TILE_PX, size.height))


def _work(order: ProbeOrder) -> ProbeReport:
    return examine(Path(order.name), order.max_pixels)


if __name__ == "__main__":
    sys.exit(serve_confined(sys.argv[1:], ProbeOrder, _work))
