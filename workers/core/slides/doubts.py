"""What of a slide cannot be trusted although it opens: looked at once, when a slide comes in or is segmented.

It opens the slide for itself: a reader that met a tile it cannot decode may fail ever after.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from workers.core.errors.base import SlideUnreadable
from workers.core.frozen import Frozen
from workers.core.slide_schemas import Modality, SlideGeometry, SlideInfo, TrustWarning
from workers.core.slides.images import is_of_record
from workers.core.slides.level_agreement import level_doubts
from workers.core.slides.modality import is_grey, modality_of_file, sample
from workers.core.slides.readers.registry import open_slide
from workers.core.slides.slide import Slide
from workers.core.slides.tiff.doubts import tiff_doubts

MAX_UNEVEN = 1.1
"""Px of scanners are as long as wide, to less than this."""


class Judged(Frozen):
    """What can be told of a slide by a look at its pixels: how it was made to be seen, and `doubts_of` it."""

    modality: Modality
    doubts: tuple[TrustWarning, ...] = ()


def judge_file(path: Path, image: int | None = None) -> Judged:
    """Return what can be told of a slide by a look at its pixels; arguments and errors as for `doubts_of`."""
    return Judged(modality=modality_of_file(path, image), doubts=doubts_of(path, image))


def doubts_of(path: Path, image: int | None = None) -> tuple[TrustWarning, ...]:
    """Return warnings that an open slide does not know of itself; a place that cannot be decoded ends the look.

    Args:
        path: The file; its structure was checked before.
        image: The number of the image, where the file holds several.

    Raises:
        SlideUnreadable: No reader opens it.
    """
    with open_slide(path, image) as slide:
        found = list(_of_resolution(slide.geometry))
        try:
            found += slide.doubts()
            if path.is_file():
                found += tiff_doubts(path, slide)
            found += level_doubts(slide)
            found += _of_colours(slide)
        except SlideUnreadable:  # said by whoever reads that place
            pass
    return tuple(found)


def record_of_image(info: SlideInfo, slide: Slide, judge: Callable[[], Judged]) -> SlideInfo:
    """Return a slide's record as a job needs it: of another image all is looked at that is when a slide comes in.

    Args:
        info: The stored record.
        slide: The same, open at the job's image.
        judge: Looks at that image.

    Raises:
        SlideUnreadable: No reader opens it.
    """
    image = slide.content.image
    if is_of_record(info, image):
        return info
    judged = judge()
    found = {
        "backend": slide.backend,
        "geometry": slide.geometry,
        "content": slide.content,
        "modality": judged.modality,
        "warnings": (*slide.warnings, *judged.doubts),
        "file_mpp": None,  # what a person has said is of the other image
    }
    return info.model_copy(update=found)


def _of_colours(slide: Slide) -> Iterator[TrustWarning]:
    if not slide.content.channels and is_grey(sample(slide)):
        yield TrustWarning(
            code="colours_absent",
            message="The picture of this slide is grey: a stain is told by its colours, and a model that has learned "
            "them guesses.",
        )


def _of_resolution(geometry: SlideGeometry) -> Iterator[TrustWarning]:
    if geometry.mpp_x is None or geometry.mpp_y is None:
        return
    if max(geometry.mpp_x, geometry.mpp_y) > MAX_UNEVEN * min(geometry.mpp_x, geometry.mpp_y):
        yield TrustWarning(
            code="mpp_uneven",
            message="The pixels of this slide are longer one way than the other, which no scanner makes.",
            value=f"{geometry.mpp_x:g} x {geometry.mpp_y:g}",
        )
