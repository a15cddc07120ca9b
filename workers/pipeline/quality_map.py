"""Where a slide is spoiled, on the grid of its overview: ink, folds, and what is out of focus.

Ink and folds are told on the overview itself, focus on fields of the slide at 1 µm per px: of a bounded number of
them, or, where somebody wants the map, of all.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from scipy import ndimage

from workers.core.errors.base import SlideUnreadable
from workers.core.quality_schemas import QUALITY_NAMES, Quality, QualityArea, QualityName
from workers.core.slide_schemas import L0Box
from workers.core.slides.slide import Pixels, Slide
from workers.core.storage.files import atomic_write
from workers.pipeline.glass import Mask
from workers.pipeline.overview import Overview
from workers.pipeline.plane import PlaneReader
from workers.pipeline.quality import SQUARE, find_folds, is_blurred, tells_folds
from workers.pipeline.tiling import Box, WorkingPlane, best_level, exact

INK, FOLD, BLUR = (1 + index for index in range(len(QUALITY_NAMES)))
"""Values of the map; 0 is nothing."""

GREYS = 85
"""Of the PNG, for each step of the map."""

FOCUS_MPP, COARSEST_MPP = 1, 1.05
"""µm per px at which focus is told, and of the coarsest slides on which it is."""

FIELD_PX, BLOCK_PX, BLOCK_TISSUE = 256, 128, 0.5
"""A field is read at once and told in blocks, of which this share has to be tissue."""

FIELDS_MAX = 64
"""Fields that are looked at for the warning alone."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class QualityMap:
    """What spoils a slide.

    Args:
        labels: uint8 (rows, columns), covers the slide from its upper left corner: 0, `INK`, `FOLD` or `BLUR`.
        l0_per_px_x: Level-0 px per px of the map, horizontally.
        l0_per_px_y: The same, vertically.
    """

    labels: Pixels
    l0_per_px_x: Fraction
    l0_per_px_y: Fraction

    def crop(self, names: Iterable[QualityName], box: Box, plane: WorkingPlane) -> Mask:
        """Return bool (height, width): the working px of a box of the plane that one of these kinds spoils."""
        wanted = np.zeros(1 + len(QUALITY_NAMES), np.bool_)
        wanted[[1 + QUALITY_NAMES.index(name) for name in names]] = True
        rows = _under(plane.scale_y / self.l0_per_px_y, box.w_y, box.height, self.labels.shape[0])
        columns = _under(plane.scale_x / self.l0_per_px_x, box.w_x, box.width, self.labels.shape[1])
        found: Mask = wanted[self.labels[rows][:, columns]]
        return found

    def places(self, name: QualityName, within: Mask, l0_size: tuple[int, int]) -> list[L0Box]:
        """Return the boxes of the connected pieces of one kind, level-0 px.

        Args:
            name: The kind.
            within: What counts, bool (rows, columns) of the map.
            l0_size: Width and height of the slide, beyond which the last px of the map may reach.
        """
        pieces, _ = ndimage.label((self.labels == 1 + QUALITY_NAMES.index(name)) & within, SQUARE)
        sides = (self.l0_per_px_x, l0_size[0]), (self.l0_per_px_y, l0_size[1])
        boxes = []
        for rows, columns in ndimage.find_objects(pieces):
            (x0, x1), (y0, y1) = (
                (floor(part.start * scale), min(length, ceil(part.stop * scale)))
                for part, (scale, length) in zip((columns, rows), sides, strict=True)
            )
            boxes.append((x0, y0, x1, y1))
        return boxes

    def save(self, path: Path) -> None:
        """Write the map as a grey PNG that carries its scale, atomically: 0, then a step of `GREYS` for each kind."""
        scale = PngInfo()
        scale.add_text("l0_per_px_x", str(self.l0_per_px_x))
        scale.add_text("l0_per_px_y", str(self.l0_per_px_y))
        with atomic_write(path) as temporary:
            Image.fromarray(self.labels * np.uint8(GREYS)).save(temporary, format="PNG", pnginfo=scale)

    @classmethod
    def load(cls, path: Path) -> "QualityMap":
        """Read what `save` wrote."""
        with Image.open(path) as image:
            x, y = Fraction(image.info["l0_per_px_x"]), Fraction(image.info["l0_per_px_y"])
            return cls(np.asarray(image) // np.uint8(GREYS), x, y)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """The working px that a job leaves out of its statistics: a map, and the kinds."""

    quality: QualityMap
    names: tuple[QualityName, ...]

    def crop(self, box: Box, plane: WorkingPlane) -> Mask:
        """Return bool (height, width): what is left out of a box of the plane."""
        return self.quality.crop(self.names, box, plane)


def look(
    slide: Slide, overview: Overview, tissue: Mask, counted: Mask, mpp: tuple[float, float], fields_max: int | None
) -> tuple[QualityMap, Quality]:
    """Look for what spoils a slide.

    Args:
        slide: The open slide.
        overview: Its overview.
        tissue: Its tissue, bool (rows, columns) of the overview.
        counted: What the job is about, of the same shape; glass may be part of it.
        mpp: µm per level-0 px in force, x and y.
        fields_max: Fields that are read for focus at most; None reads all.

    Returns:
        The map, and how much of the counted tissue is spoiled.
    """
    clean = tissue & ~overview.ink
    labels = np.zeros(tissue.shape, np.uint8)
    focus = _Focus.over(slide, overview, clean & counted, mpp)
    told, read = focus.tell(fields_max) if focus is not None else (None, 0)
    looked_at = np.zeros_like(tissue)
    if told is not None and focus is not None:
        blocks = told[focus.rows][:, focus.columns]  # of each px: -1 not told, 0 sharp, 1 blurred
        looked_at = clean & counted & (blocks >= 0)
        labels[looked_at & (blocks == 1)] = BLUR
    labels[find_folds(overview.pixels, overview.glass, clean)] = FOLD
    labels[overview.ink] = INK
    counts = np.bincount(labels[counted], minlength=1 + len(QUALITY_NAMES)).tolist()
    total, seen = int((tissue & counted).sum()), int(looked_at.sum())
    px_mm2 = float(overview.l0_per_px_x * overview.l0_per_px_y * exact(mpp[0]) * exact(mpp[1])) / 1e6
    shares = {INK: _share(counts[INK], total), FOLD: _share(counts[FOLD], total), BLUR: _share(counts[BLUR], seen)}
    fields = 0 if focus is None else len(focus.fields)
    if read < fields:  # the rest is taken to be as what was looked at
        counts[BLUR] = shares[BLUR] * total
    areas = tuple(
        QualityArea(name=name, mm2=counts[value] * px_mm2, share_of_tissue=shares[value])
        for value, name in enumerate(QUALITY_NAMES, start=1)
    )
    found = Quality(areas=areas, folds_told=tells_folds(clean), focus_fields=fields, focus_fields_read=read)
    return QualityMap(labels, overview.l0_per_px_x, overview.l0_per_px_y), found


@dataclass(frozen=True, slots=True, eq=False)
class _Focus:
    """The grid of blocks in which focus is told.

    Args:
        reader: Reads the slide at `FOCUS_MPP`.
        rows: Row of blocks in which each row of the overview lies.
        columns: The same of columns.
        blocks: Whether a block is looked at, bool (rows, columns) of blocks.
        fields: Row and column of the fields that hold such blocks, row by row.
    """

    reader: PlaneReader
    rows: Ints
    columns: Ints
    blocks: Mask
    fields: list[tuple[int, int]]

    @classmethod
    def over(cls, slide: Slide, overview: Overview, tissue: Mask, mpp: tuple[float, float]) -> "_Focus | None":
        """Lay the grid over a slide; None where it is too coarse."""
        if max(mpp) > COARSEST_MPP:
            return None
        geometry = slide.geometry
        scale = Fraction(FOCUS_MPP) / exact(mpp[0]), Fraction(FOCUS_MPP) / exact(mpp[1])
        plane = WorkingPlane(geometry.l0_width, geometry.l0_height, *scale)
        rows, columns = (
            _under(per_px / (BLOCK_PX * step), 0, length, None)
            for per_px, step, length in zip(
                (overview.l0_per_px_y, overview.l0_per_px_x), scale[::-1], tissue.shape, strict=True
            )
        )
        size = int(rows[-1]) + 1, int(columns[-1]) + 1
        block = (rows[:, np.newaxis] * size[1] + columns).ravel()
        counts = np.bincount(block, minlength=size[0] * size[1])
        inside = np.bincount(block, weights=tissue.ravel(), minlength=size[0] * size[1])
        blocks = (inside >= BLOCK_TISSUE * np.maximum(counts, 1)).reshape(size)
        per_field = FIELD_PX // BLOCK_PX
        fields = sorted({(int(row) // per_field, int(column) // per_field) for row, column in np.argwhere(blocks)})
        return cls(PlaneReader(slide, plane, best_level(geometry, plane)), rows, columns, blocks, fields)

    def tell(self, fields_max: int | None) -> tuple[npt.NDArray[np.int8], int]:
        """Return of each block -1 if it was not told, 0 if it is sharp, 1 if it is not, and how many fields were read.

        Fields are drawn by lot, always the same: every second one might be every second column. One that cannot be
        read is passed over: a job may do without it.
        """
        told = np.full(self.blocks.shape, -1, np.int8)
        count = len(self.fields) if fields_max is None else min(fields_max, len(self.fields))
        read = 0
        drawn = np.random.default_rng(0).permutation(len(self.fields))[:count]
        for index in sorted(drawn.tolist()):
            row, column = self.fields[index]
            try:
                pixels = self.reader.read(column * FIELD_PX, row * FIELD_PX, FIELD_PX, FIELD_PX)
            except SlideUnreadable:
                continue
            read += 1
            for y, x in self._blocks_of(row, column):
                top, left = y * BLOCK_PX - row * FIELD_PX, x * BLOCK_PX - column * FIELD_PX
                bottom = min(top + BLOCK_PX, self.reader.plane.w_height - row * FIELD_PX)
                right = min(left + BLOCK_PX, self.reader.plane.w_width - column * FIELD_PX)
                blurred = is_blurred(pixels[top:bottom, left:right])
                told[y, x] = -1 if blurred is None else blurred
        return told, read

    def _blocks_of(self, row: int, column: int) -> Iterator[tuple[int, int]]:
        """Yield row and column of the blocks of a field that are looked at."""
        per_field = FIELD_PX // BLOCK_PX
        part = self.blocks[row * per_field : (row + 1) * per_field, column * per_field : (column + 1) * per_field]
        for y, x in np.argwhere(part):
            yield row * per_field + int(y), column * per_field + int(x)


def _share(part: float, whole: int) -> float:
    return min(1.0, part / whole) if whole else 0.0


def _under(ratio: Fraction, start: int, count: int, length: int | None) -> Ints:
    """Return for each px from `start` on in which px of a grid its middle lies, `ratio` of those to one of these."""
    middles = ((2 * at + 1) * ratio.numerator // (2 * ratio.denominator) for at in range(start, start + count))
    return np.array([max(0, at if length is None else min(at, length - 1)) for at in middles], np.int64)
