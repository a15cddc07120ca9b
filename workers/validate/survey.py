"""What of the truth is compared, found out before anything is segmented: what makes no sense is refused at once."""

from collections.abc import Iterator
from dataclasses import dataclass

from workers.core.errors.base import RequestInvalid
from workers.core.sizing.preflight import parts_on_slide
from workers.core.slide_schemas import SlideGeometry, TrustWarning
from workers.pipeline.tiling import WorkingPlane
from workers.validate.field import fields_of
from workers.validate.truth import IGNORE, Space, Truth


@dataclass(frozen=True)
class Survey:
    """What the regions hold.

    Args:
        pixels: Of each region, working px that count.
        annotations: Of each region, those that have a pixel in it.
        outside: Annotations that no region has a pixel of.
    """

    pixels: tuple[int, ...]
    annotations: tuple[int, ...]
    outside: int


def origin_of(geometry: SlideGeometry, space: Space | None) -> tuple[int, int]:
    """Return where the origin of the truth's frame lies, level-0 px: QuPath crops a slide to its bounds.

    Raises:
        RequestInvalid: The slide has bounds, and nobody said which frame it is.
    """
    x, y = (0, 0) if geometry.bounds is None else geometry.bounds[:2]
    if (x, y) != (0, 0) and space is None:
        raise RequestInvalid(
            "This slide has bounds, to which QuPath crops it; in which frame the truth is cannot be seen.",
            value=f"bounds that begin at ({x}, {y})",
            accepted="--space qupath for an export of QuPath, --space level0 if QuPath opened it with --no-crop",
        )
    return (x, y) if space == "qupath" else (0, 0)


def look(truth: Truth, plane: WorkingPlane, geometry: SlideGeometry) -> Survey:
    """Lay the truth on the plane once.

    Raises:
        RoiOutside: A region holds nothing of the slide.
        RequestInvalid: A region is too large or holds no pixel, or no annotation lies in any.
    """
    for region in truth.regions:
        parts_on_slide(region.polygons, geometry)
    seen: set[int] = set()
    pixels, annotations = [], []
    for field in fields_of(truth, plane):
        seen |= field.seen
        pixels.append(int(field.counts.sum()))
        annotations.append(len(field.seen))
    count = sum(shape.label != IGNORE for shape in truth.shapes)
    if not seen:
        raise RequestInvalid(
            "No annotation of a class of the model lies in a region.",
            value=f"{count} annotations, {len(truth.regions)} regions",
            accepted="annotations and regions in level-0 px of this slide",
        )
    return Survey(tuple(pixels), tuple(annotations), count - len(seen))


def doubts(truth: Truth, survey: Survey) -> Iterator[TrustWarning]:
    """Yield what of the truth does not count, and why."""
    if truth.left_out:
        yield TrustWarning(
            code="truth_left_out",
            message="Annotations of other classes than the model's do not count; --map gives them one.",
            value=", ".join(f"{name}: {count}" for name, count in sorted(truth.left_out.items())),
        )
    if survey.outside:
        yield TrustWarning(
            code="truth_outside",
            message="Annotations outside of all regions do not count.",
            value=str(survey.outside),
        )
