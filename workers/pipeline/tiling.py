"""Pure geometry of a job: working plane, regions, boxes with halo, level choice. Integers and fractions, no I/O.

Frames: `l0_` level-0 px of the full plane, `lv_` px of a slide level, `w_` px of the working plane (the slide at the
model's mpp, only whole px). Boxes are half-open: `[w_x0, w_x1)`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import floor

from workers.core.schemas import MppSource, Plan
from workers.core.slide_schemas import SlideGeometry
from workers.core.slides.resolution import resolve_mpp

LEVEL_TOLERANCE = Fraction(1, 10**6)


def exact(number: float) -> Fraction:
    """Return the decimal a person reads in `number`, as a fraction: 0.499 becomes 499/1000."""
    return Fraction(str(number))


def ceil_to(length: int, step: int) -> int:
    """Return the smallest multiple of `step` that is at least `length`."""
    return -(-length // step) * step


@dataclass(frozen=True, slots=True)
class WorkingPlane:
    """The slide at the model's mpp.

    Args:
        l0_width: Width of level 0.
        l0_height: Height of level 0.
        scale_x: Level-0 px per working px, horizontally.
        scale_y: The same, vertically.
        mpp_source: Who said how many µm a level-0 px measures.
    """

    l0_width: int
    l0_height: int
    scale_x: Fraction
    scale_y: Fraction
    mpp_source: MppSource = "metadata"

    @classmethod
    def from_geometry(cls, geometry: SlideGeometry, model_mpp: float, mpp_override: float | None) -> "WorkingPlane":
        """Lay the plane of a model of `model_mpp` over a slide.

        Raises:
            MppMissing: Neither the slide nor the request knows the µm per px.
            MppOutOfRange: The override is implausible, the slide is too coarse for the model, or it is smaller
                than one working px.
        """
        mpp_x, mpp_y, source = resolve_mpp(geometry, mpp_override, model_mpp)
        return cls(
            geometry.l0_width,
            geometry.l0_height,
            exact(model_mpp) / exact(mpp_x),
            exact(model_mpp) / exact(mpp_y),
            source,
        )

    @classmethod
    def from_plan(cls, plan: Plan) -> "WorkingPlane":
        """Return the plane that the planner laid: the numbers of `plan.json` are exact decimals."""
        return cls(
            plan.geometry.l0_width,
            plan.geometry.l0_height,
            exact(plan.model_mpp) / exact(plan.mpp_x),
            exact(plan.model_mpp) / exact(plan.mpp_y),
            plan.mpp_source,
        )

    @property
    def w_width(self) -> int:
        """Whole working px in the width of the slide."""
        return floor(self.l0_width / self.scale_x)

    @property
    def w_height(self) -> int:
        """Whole working px in the height of the slide."""
        return floor(self.l0_height / self.scale_y)

    def to_l0(self, w_x: int | Fraction, w_y: int | Fraction) -> tuple[Fraction, Fraction]:
        """Return the level-0 position of a working corner, exactly."""
        return w_x * self.scale_x, w_y * self.scale_y

    def from_l0(self, l0_x: int | Fraction, l0_y: int | Fraction) -> tuple[Fraction, Fraction]:
        """Return the working position of a level-0 corner, exactly."""
        return l0_x / self.scale_x, l0_y / self.scale_y


@dataclass(frozen=True, slots=True)
class Region:
    """One cell of a row-major grid over the working plane, clipped to the plane: `[w_x0, w_x1) × [w_y0, w_y1)`."""

    index: int
    row: int
    col: int
    w_x0: int
    w_y0: int
    w_x1: int
    w_y1: int

    @property
    def width(self) -> int:
        """Width of the core in working px."""
        return self.w_x1 - self.w_x0

    @property
    def height(self) -> int:
        """Height of the core in working px."""
        return self.w_y1 - self.w_y0


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of the working plane that is read for a core; it may reach outside the plane."""

    w_x: int
    w_y: int
    width: int
    height: int

    def crop(self, core: Region) -> tuple[slice, slice]:
        """Return the (rows, columns) that cut `core` out of an array read for this box."""
        top, left = core.w_y0 - self.w_y, core.w_x0 - self.w_x
        return slice(top, top + core.height), slice(left, left + core.width)


def grid_shape(plane: WorkingPlane, region_px: int) -> tuple[int, int]:
    """Return (rows, columns) of the grid of `region_px` cells that covers the plane."""
    return -(-plane.w_height // region_px), -(-plane.w_width // region_px)


def region_at(plane: WorkingPlane, region_px: int, index: int) -> Region:
    """Return the region of a row-major index.

    Raises:
        ValueError: The grid has no such cell.
    """
    rows, cols = grid_shape(plane, region_px)
    if not 0 <= index < rows * cols:
        message = f"region {index} is outside the grid of {rows} x {cols} cells of {region_px} px"
        raise ValueError(message)
    row, col = divmod(index, cols)
    return _cell(index, row, col, region_px, (0, 0, plane.w_width, plane.w_height))


def regions(plane: WorkingPlane, region_px: int) -> Iterator[Region]:
    """Yield all regions, row by row. Their cores cover the plane exactly once."""
    rows, cols = grid_shape(plane, region_px)
    for index in range(rows * cols):
        yield region_at(plane, region_px, index)


def tiles(core: Region, tile_px: int) -> Iterator[Region]:
    """Yield the tiles of a region's core, row by row: cells of the plane's own `tile_px` grid, clipped to the core.

    `index` counts within the core; `row` and `col` are those of the plane's tile grid, so a tile keeps its place
    whatever the size of the region around it.
    """
    clip = (core.w_x0, core.w_y0, core.w_x1, core.w_y1)
    index = 0
    for row in range(core.w_y0 // tile_px, -(-core.w_y1 // tile_px)):
        for col in range(core.w_x0 // tile_px, -(-core.w_x1 // tile_px)):
            yield _cell(index, row, col, tile_px, clip)
            index += 1


def read_box(core: Region, halo: int, stride: int) -> Box:
    """Return what is read for a core: the core with `halo` working px around it, on the grid of `stride`.

    A halo that is no multiple of `stride` is widened to one; origin and size are multiples of `stride`.

    Raises:
        ValueError: The core does not start on the grid of `stride`.
    """
    if core.w_x0 % stride or core.w_y0 % stride:
        message = f"core at ({core.w_x0}, {core.w_y0}) is not aligned to the stride of {stride} px"
        raise ValueError(message)
    margin = ceil_to(halo, stride)
    return Box(
        core.w_x0 - margin,
        core.w_y0 - margin,
        ceil_to(core.width, stride) + 2 * margin,
        ceil_to(core.height, stride) + 2 * margin,
    )


def level_downsample(geometry: SlideGeometry, level: int) -> tuple[Fraction, Fraction]:
    """Return the exact level-0 px per px of a level, as (x, y).

    Scanners halve repeatedly and drop or round up what is left over, so the sizes of a level are those of a whole
    downsample up to less than one px: then the whole number is the truth, and the ratio of sizes is not.
    """
    size = geometry.levels[level]
    whole = round(size.downsample)
    ratios = []
    for l0_length, lv_length in ((geometry.l0_width, size.width), (geometry.l0_height, size.height)):
        is_whole = whole >= 1 and lv_length in (l0_length // whole, -(-l0_length // whole))
        ratios.append(Fraction(whole) if is_whole else Fraction(l0_length, lv_length))
    return ratios[0], ratios[1]


def best_level(geometry: SlideGeometry, plane: WorkingPlane) -> int:
    """Return the coarsest level that is no coarser than the working plane; level 0 if there is none."""
    fitting = [0]
    for level in range(1, len(geometry.levels)):
        ds_x, ds_y = level_downsample(geometry, level)
        if ds_x <= plane.scale_x + LEVEL_TOLERANCE and ds_y <= plane.scale_y + LEVEL_TOLERANCE:
            fitting.append(level)
    return max(fitting, key=lambda level: level_downsample(geometry, level)[0])


def _cell(index: int, row: int, col: int, side: int, clip: tuple[int, int, int, int]) -> Region:
    w_x0, w_y0, w_x1, w_y1 = clip
    return Region(
        index,
        row,
        col,
        max(col * side, w_x0),
        max(row * side, w_y0),
        min((col + 1) * side, w_x1),
        min((row + 1) * side, w_y1),
    )
