"""One picture for people: the slide under coloured labels, a crop at full resolution, areas per class, scale bars."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from workers.core.class_colours import color_table
from workers.core.model.schemas import ModelClass
from workers.core.schemas import Plan
from workers.core.slide_schemas import TrustWarning
from workers.core.slides.slide import Slide
from workers.core.storage.files import atomic_write
from workers.outputs.drawing import (
    INK,
    PAPER,
    QUIET,
    RULE,
    LegendRow,
    add_scale_bar,
    draw_legend,
    outlined,
    tinted,
)
from workers.outputs.lettering import fitted, write
from workers.outputs.statistics import ClassStatistics, Statistics
from workers.pipeline.plane import PlaneReader
from workers.pipeline.sparse import PlaneArray, is_empty
from workers.pipeline.stitch import LabelArrays, UInt8, band_height, read_rows
from workers.pipeline.tiling import WorkingPlane

Floats = NDArray[np.float32]

PANEL_PX = 1600
"""Longer side of the slide in the picture, at most."""
SMALL_PANEL_PX = 900
"""A plane smaller than this is enlarged by a whole factor."""
CROP_PX, CROP_ZOOM = 280, 2
"""Side of the crop in working px, and how many times it is enlarged."""
SAMPLES = 4
"""At least so many pixels per side are looked at for each pixel of the slide panel, where there are as many."""
OUTLINED_FACTOR = 4
"""Where a px of the panel is more working px than this, outlines would be all there is to see of small shapes."""
BAND_PX = 2**22
"""Px of the plane that are kept at once, of those that are looked at."""
MARGIN, TOP, GAP, CAPTION = 32, 92, 30, 32
LINE, WARNINGS_SHOWN = 24, 4
DOUBT = (138, 90, 0)
COUNTED, MILLION = "objects", 10**6


@dataclass(frozen=True, slots=True)
class Overview:
    """A label plane from far away.

    Args:
        factor: Working px per overview px.
        shares: Share of each of the plan's classes in each overview px, float32 (height, width, classes).
    """

    factor: int
    shares: Floats


def write_preview(
    path: Path,
    slide: Slide,
    arrays: LabelArrays,
    plan: Plan,
    statistics: Statistics | None = None,
    warnings: Sequence[TrustWarning] = (),
) -> None:
    """Write the preview as PNG.

    Args:
        path: Where to; replaced atomically.
        slide: The open slide.
        arrays: Labels of the working plane.
        plan: The plan they were made for.
        statistics: Areas for the legend; without them it has names only.
        warnings: Why the result cannot be trusted as it is; the first ones are written below the legend.

    Raises:
        SlideUnreadable: A tile of the slide cannot be decoded.
    """
    view = overview(arrays.labels, plan.classes)
    reader = PlaneReader(slide, WorkingPlane.from_plan(plan), plan.level)
    crop = densest(view, plan, CROP_PX)
    panel = _slide_panel(slide.thumbnail(PANEL_PX), view, plan, crop)
    picture = _compose(panel, _crop_panels(reader, arrays.labels, plan, crop), plan, statistics, warnings)
    with atomic_write(path) as temporary:
        picture.save(temporary, "PNG")


def overview(labels: PlaneArray, classes: Sequence[ModelClass], longest: int = PANEL_PX) -> Overview:
    """Count classes in square blocks of the plane, so many px wide that no side is longer than `longest`.

    Large blocks are sampled on a regular grid. Blocks that the plane's edge cuts are left out.
    """
    height, width = labels.shape
    block = -(-max(height, width) // longest)
    step = max(1, block // SAMPLES)
    across = -(-block // step)
    block = across * step
    rows, columns = max(1, height // block), max(1, width // block)
    shares = np.zeros((rows, columns, len(classes)), np.float32)
    at_once = max(1, band_height(labels, BAND_PX * step**2) // block)  # of the px that are kept
    for top in range(0, rows, at_once):
        there = min(at_once, rows - top)
        if is_empty(labels, (top * block, min((top + there) * block, height))):
            shares[top : top + there] = [each.index == 0 for each in classes]
            continue
        band = read_rows(labels, top * block, (top + there) * block, step)[:, : columns * across]
        lacking = (there * across - band.shape[0], columns * across - band.shape[1])  # on a plane thinner than a block
        band = np.pad(band, ((0, lacking[0]), (0, lacking[1])), mode="edge") if any(lacking) else band
        for number, each in enumerate(classes):
            shares[top : top + there, :, number] = _share(band == each.index, across)
    return Overview(block, shares)


def _share(mask: NDArray[np.bool_], side: int) -> Floats:
    """Return which share of each block of so many px a side a mask takes, float32; its sides are whole blocks.

    Rows and columns of blocks are added up at once: a mean over two axes takes many times as long.
    """
    found = mask.view(np.uint8)
    down = sum((found[first::side] for first in range(side)), np.zeros((1, 1), np.uint16))
    count = sum((down[:, first::side] for first in range(side)), np.zeros((1, 1), np.uint16))
    return np.asarray(count, np.float32) / np.float32(side * side)


def densest(view: Overview, plan: Plan, side: int) -> tuple[int, int, int, int]:
    """Return the box (w_x, w_y, width, height) of about `side` working px where classes are most mixed.

    Mixed is where two pixels drawn at random most often differ: for nuclei, where they are many.
    """
    width, height = min(side, plan.w_width), min(side, plan.w_height)
    cells = max(1, side // view.factor)
    down, across = min(cells, view.shares.shape[0]), min(cells, view.shares.shape[1])
    alike = np.zeros((view.shares.shape[0] - down + 1, view.shares.shape[1] - across + 1))
    for number in range(view.shares.shape[2]):
        share = view.shares[:, :, number].astype(np.float64)
        sums = np.pad(share.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
        mean = sums[down:, across:] - sums[:-down, across:] - sums[down:, :-across] + sums[:-down, :-across]
        alike += (mean / (down * across)) ** 2
    mixed = 1 - alike
    row, column = divmod(int(mixed.round(9).argmax()), mixed.shape[1])
    w_x = min(column * view.factor, plan.w_width - width)
    w_y = min(row * view.factor, plan.w_height - height)
    return w_x, w_y, width, height


def _slide_panel(thumbnail: UInt8, view: Overview, plan: Plan, crop: tuple[int, int, int, int]) -> Image.Image:
    """Draw the whole slide with tint, outlines, the place of the crop, and a scale bar."""
    rows, columns, _ = view.shares.shape
    zoom = max(1, SMALL_PANEL_PX // max(rows, columns))
    plane = WorkingPlane.from_plan(plan)
    # The part of the slide that the overview covers, in px of the thumbnail.
    right = min(float(columns * view.factor * plane.scale_x / plane.l0_width), 1.0) * thumbnail.shape[1]
    bottom = min(float(rows * view.factor * plane.scale_y / plane.l0_height), 1.0) * thumbnail.shape[0]
    size = (columns * zoom, rows * zoom)
    rgb = np.asarray(Image.fromarray(thumbnail).resize(size, Image.Resampling.LANCZOS, (0, 0, right, bottom)))
    shares = view.shares.repeat(zoom, axis=0).repeat(zoom, axis=1)
    shown = [number for number, each in enumerate(plan.classes) if each.index != 0]
    majority = np.array([each.index for each in plan.classes], np.uint8)[shares.argmax(axis=2)]
    rgb = tinted(rgb, shares[:, :, shown], [plan.classes[number].color for number in shown])
    if view.factor <= OUTLINED_FACTOR:
        rgb = outlined(rgb, majority, color_table(plan.classes), 1)
    image = Image.fromarray(rgb)
    w_x, w_y, width, height = (length * zoom / view.factor for length in crop)
    pen = ImageDraw.Draw(image)
    pen.rectangle((w_x - 2, w_y - 2, w_x + width + 1, w_y + height + 1), None, PAPER, 5)
    pen.rectangle((w_x - 1, w_y - 1, w_x + width, w_y + height), None, INK, 3)
    add_scale_bar(image, plan.model_mpp * view.factor / zoom)
    return image


def _crop_panels(
    reader: "Readable", labels: PlaneArray, plan: Plan, crop: tuple[int, int, int, int]
) -> tuple[Image.Image, Image.Image]:
    """Draw a crop of the working plane, enlarged: with outlines, and as it is."""
    w_x, w_y, width, height = crop
    size = (width * CROP_ZOOM, height * CROP_ZOOM)
    bare = Image.fromarray(reader.read(w_x, w_y, width, height)).resize(size, Image.Resampling.BICUBIC)
    inside: UInt8 = labels[w_y : w_y + height, w_x : w_x + width]
    inside = inside.repeat(CROP_ZOOM, axis=0).repeat(CROP_ZOOM, axis=1)
    image = Image.fromarray(outlined(np.asarray(bare), inside, color_table(plan.classes), CROP_ZOOM))
    for each in (image, bare):
        add_scale_bar(each, plan.model_mpp / CROP_ZOOM)
    return image, bare


def _compose(
    panel: Image.Image,
    crops: tuple[Image.Image, Image.Image],
    plan: Plan,
    statistics: Statistics | None,
    warnings: Sequence[TrustWarning],
) -> Image.Image:
    """Put slide, legend and crops on one page; the crop without outlines where there is room for it."""
    side = CROP_PX * CROP_ZOOM
    told = _told(warnings)
    legend_height = 30 + 40 * len(plan.classes) + 50 + LINE * len(told)
    blocks = [crop.height + CAPTION + GAP for crop in crops]
    shown = 2 if legend_height + sum(blocks) - GAP <= panel.height else 1
    height = TOP + max(panel.height, legend_height + sum(blocks[:shown])) + MARGIN
    page = Image.new("RGB", (MARGIN + panel.width + GAP + side + MARGIN, height), PAPER)
    pen = ImageDraw.Draw(page)
    left = MARGIN + panel.width + GAP
    write(pen, (MARGIN, 30), fitted(f"L-Diffusion · {plan.model}", panel.width, 30), INK, 30, "la")
    write(pen, (left, 40), f"{plan.model_mpp:g} µm per pixel · seed {plan.seed}", QUIET, 20, "la")
    page.paste(panel, (MARGIN, TOP))
    pen.rectangle((MARGIN - 1, TOP - 1, MARGIN + panel.width, TOP + panel.height), None, RULE)

    head = legend_head(statistics)
    bottom = draw_legend(page, (left, TOP), side, head, legend_rows(plan.classes, statistics))
    if statistics:
        text = f"{statistics.tissue_mm2:.3g} mm² of tissue on a slide of {statistics.slide_mm2:.3g} mm²"
        write(pen, (left, bottom + 12), text, QUIET, 18, "la")
    for number, line in enumerate(told):
        write(pen, (left, bottom + 42 + LINE * number), fitted(line, side, 17), DOUBT, 17, "la")
    top = TOP + legend_height + GAP
    captions = ("Where classes mix most (frame on the slide), full resolution", "The same place without outlines")
    for crop, block, caption in list(zip(crops, blocks, captions, strict=True))[:shown]:
        write(pen, (left, top), caption, QUIET, 18, "la")
        page.paste(crop, (left, top + CAPTION))
        pen.rectangle((left - 1, top + CAPTION - 1, left + crop.width, top + CAPTION + crop.height), None, INK)
        top += block
    return page


def _told(warnings: Sequence[TrustWarning]) -> list[str]:
    """Return the lines that warn: the first ones, and how many more there are."""
    lines = [f"! {each.message}" for each in warnings[:WARNINGS_SHOWN]]
    more = len(warnings) - WARNINGS_SHOWN
    return [*lines, f"! {more} more in result.json"] if more > 0 else lines


def legend_head(statistics: Statistics | None) -> tuple[str, ...]:
    """Return what stands above the numbers of the legend; counts only where objects were counted."""
    if statistics is None:
        return ()
    is_counted = any(each.count is not None for each in statistics.classes)
    return ("mm²", "of tissue", *((COUNTED, "per mm²") if is_counted else ()))


def short_number(number: float | None) -> str:
    """Return a number in at most seven signs: 0.25, 12.5, 3,456, 789,012, 1.23 M. What is not known is a dash."""
    if number is None:
        return "-"
    if number >= MILLION - 0.5:
        return f"{number / MILLION:.3g} M"
    return f"{number:,.0f}" if number >= 100 or number == int(number) else f"{number:.3g}"


def legend_rows(classes: Sequence[ModelClass], statistics: Statistics | None) -> list[LegendRow]:
    """Return the legend: all classes, background last and white, as it is drawn."""
    told: dict[int, ClassStatistics] = {row.index: row for row in statistics.classes} if statistics else {}
    is_counted, rows = COUNTED in legend_head(statistics), []
    for each in sorted(classes, key=lambda each: (each.index == 0, each.index)):
        cells: tuple[str, ...] = ()
        if each.index in told:
            found = told[each.index]
            cells = (f"{found.mm2:.3g}", "-" if found.share_of_tissue is None else f"{found.share_of_tissue:.1%}")
            if is_counted:
                cells = (*cells, short_number(found.count), short_number(found.density_per_mm2))
        rows.append(LegendRow(each.name, each.color if each.index else PAPER, cells))
    return rows


class Readable(Protocol):
    """Reads boxes of the working plane."""

    def read(self, w_x: int, w_y: int, width: int, height: int) -> UInt8:
        """Return uint8 (height, width, 3)."""
