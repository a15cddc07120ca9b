"""Pixels of a region of interest, against shapely, and jobs that have one, against jobs that have none."""

import itertools
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from workers import stages
from workers.core.label_layout import CONFIDENCE, LABELS
from workers.core.model.catalogue import find_model
from workers.core.roi.polygons import MultiPolygon, Polygon, read_roi
from workers.core.schemas import JobRequest, Plan
from workers.core.slide_schemas import SlideInfo
from workers.core.slides.readers.registry import open_slide
from workers.core.slides.slide import Pixels, Slide
from workers.masks import load_tissue
from workers.outputs.statistics import read_statistics
from workers.pipeline import stitch
from workers.pipeline.roi import Area, RoiMask, without
from workers.pipeline.tiling import Box, WorkingPlane, regions
from workers.pipeline.tissue import TissueMask

PLANE = WorkingPlane(300, 240, Fraction(3, 2), Fraction(5, 4))
WHOLE = Box(0, 0, PLANE.w_width, PLANE.w_height)
STAR = (((10.0, 12.5), (250.0, 60.25), (33.3, 180.0), (140.5, 7.0), (190.0, 230.0), (10.0, 12.5)),)
HOLED = Polygon(
    coordinates=(
        ((20, 20), (280, 30), (260, 220), (30, 200), (20, 20)),
        ((80, 80), (80, 150), (190, 140), (150, 60), (80, 80)),
    )
)
BLOCK_PX = 256


def centres(box: Box) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    columns = (np.arange(box.w_x, box.w_x + box.width) + 0.5) * float(PLANE.scale_x)
    rows = (np.arange(box.w_y, box.w_y + box.height) + 0.5) * float(PLANE.scale_y)
    x, y = np.meshgrid(columns, rows)
    return x, y


def by_shapely(geometry: Any, box: Box) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = shapely.contains_xy(geometry, *centres(box))
    return inside


def test_a_polygon_with_a_hole_is_what_shapely_says() -> None:
    expected = by_shapely(shapely.Polygon(HOLED.coordinates[0], [HOLED.coordinates[1]]), WHOLE)
    assert np.array_equal(RoiMask.from_roi(HOLED).crop(WHOLE, PLANE), expected)
    turned = Polygon(coordinates=(HOLED.coordinates[0], HOLED.coordinates[1][::-1]))
    assert np.array_equal(RoiMask.from_roi(turned).crop(WHOLE, PLANE), expected)
    assert 0 < expected.sum() < expected.size


def test_parts_are_joined_also_where_they_overlap() -> None:
    boxes = [(10, 10, 120, 100), (100, 90, 200, 200)]
    rings = tuple((((a, b), (c, b), (c, d), (a, d), (a, b)),) for a, b, c, d in boxes)
    joined = shapely.union_all([shapely.box(*box) for box in boxes])
    found = RoiMask.from_roi(MultiPolygon(coordinates=rings)).crop(WHOLE, PLANE)
    assert np.array_equal(found, by_shapely(joined, WHOLE))


def test_a_ring_that_crosses_itself_is_read_by_the_even_odd_rule() -> None:
    def crossings(x: float, y: float) -> int:
        ring = STAR[0]
        count = 0
        for (x0, y0), (x1, y1) in itertools.pairwise(ring):
            if (y0 <= y) != (y1 <= y):
                count += x0 + (y - y0) * (x1 - x0) / (y1 - y0) <= x
        return count

    x, y = centres(WHOLE)
    expected = np.vectorize(lambda *place: crossings(*place) % 2 == 1)(x, y)
    assert np.array_equal(RoiMask.from_roi(Polygon(coordinates=STAR)).crop(WHOLE, PLANE), expected)


@settings(max_examples=60)
@given(x=st.integers(-20, 210), y=st.integers(-20, 200), width=st.integers(1, 60), height=st.integers(1, 60))
def test_a_pixel_belongs_or_not_whatever_box_it_is_asked_in(x: int, y: int, width: int, height: int) -> None:
    for polygon in (HOLED, Polygon(coordinates=STAR)):
        mask = RoiMask.from_roi(polygon)
        whole = np.zeros((260, 300), np.bool_)
        whole[40 : 40 + WHOLE.height, 40 : 40 + WHOLE.width] = mask.crop(WHOLE, PLANE)
        found = mask.crop(Box(x, y, width, height), PLANE)[max(0, -y) :, max(0, -x) :]
        expected = whole[40 + max(0, y) : 40 + y + height, 40 + max(0, x) : 40 + x + width]
        inside = found[: max(0, WHOLE.height - max(0, y)), : max(0, WHOLE.width - max(0, x))]
        assert np.array_equal(inside, expected[: inside.shape[0], : inside.shape[1]])


HALF = WorkingPlane(1600, 1280, Fraction(2), Fraction(2))
"""A 40x slide read at half scale: every centre lies on an odd level-0 px."""


def tiled(roi: Polygon | MultiPolygon, plane: WorkingPlane, tile: int) -> NDArray[np.bool_]:
    """Return bool (height, width) of the whole plane, all of it tissue, asked for tile by tile."""
    one = np.ones((1, 1), np.bool_)
    mask = Area(TissueMask(one, ~one, Fraction(plane.l0_width), Fraction(plane.l0_height)), RoiMask.from_roi(roi))
    found = np.zeros((plane.w_height, plane.w_width), np.bool_)
    for region in regions(plane, tile):
        box = Box(region.w_x0, region.w_y0, region.width, region.height)
        found[region.w_y0 : region.w_y1, region.w_x0 : region.w_x1] = mask.crop(box, plane)
    return found


def literal(geometry: Any, plane: WorkingPlane) -> NDArray[np.bool_]:
    """Return what shapely says of every centre of the plane, bool (height, width)."""
    x, y = np.meshgrid(
        (np.arange(plane.w_width) + 0.5) * float(plane.scale_x),
        (np.arange(plane.w_height) + 0.5) * float(plane.scale_y),
    )
    inside: NDArray[np.bool_] = shapely.contains_xy(geometry, x, y)
    return inside


@pytest.mark.parametrize("tile", [32, 48])
@pytest.mark.parametrize("plane", [PLANE, HALF], ids=["odd scale", "half scale"])
def test_tiles_within_the_columns_of_a_region_end_at_its_upper_and_lower_edge(plane: WorkingPlane, tile: int) -> None:
    """A box wider than three tiles: its edges touch no column of the inner tiles and still cross their rows."""
    x0, y0 = 20.3, 30.6
    x1, y1 = plane.l0_width - 10.2, plane.l0_height - 18.4
    box = shapely.box(x0, y0, x1, y1)
    roi = Polygon(coordinates=(tuple(box.exterior.coords),))
    assert (x1 - x0) / float(plane.scale_x) > 3 * tile
    found = tiled(roi, plane, tile)
    assert np.array_equal(found, literal(box, plane))

    def within(count: int, scale: Fraction, low: float, high: float) -> int:
        return sum(low < (index + Fraction(1, 2)) * scale < high for index in range(count))

    columns = within(plane.w_width, plane.scale_x, x0, x1)
    rows = within(plane.w_height, plane.scale_y, y0, y1)
    assert int(found.sum()) == columns * rows


@pytest.mark.parametrize("tile", [16, 48, 128])
def test_a_ring_is_exact_in_tiles_of_any_size(tile: int) -> None:
    ring = shapely.Point(801.3, 640.7).buffer(600.5).difference(shapely.Point(790.1, 650.9).buffer(333.3))
    roi = Polygon(coordinates=(tuple(ring.exterior.coords), *(tuple(hole.coords) for hole in ring.interiors)))
    assert np.array_equal(tiled(roi, HALF, tile), literal(ring, HALF))


@pytest.mark.slow
@settings(max_examples=60)
@given(
    corners=st.lists(st.tuples(st.integers(-400, 2000), st.integers(-400, 1700)), min_size=3, max_size=9),
    tile=st.sampled_from([16, 64, 160]),
)
def test_any_region_is_exact_in_tiles(corners: list[tuple[int, int]], tile: int) -> None:
    # No centre lies on an edge, where shapely and the even-odd rule may differ.
    hull = shapely.MultiPoint([(x + 0.3137, y + 0.7071) for x, y in corners]).convex_hull
    if hull.geom_type != "Polygon":
        return
    roi = Polygon(coordinates=(tuple(hull.exterior.coords),))
    assert np.array_equal(tiled(roi, HALF, tile), literal(hull, HALF))


@pytest.mark.parametrize("box", [(100, 100, 300, 300), (210.5, 70.25, 3100.75, 2200), (900, 3.5, 931, 2550)])
def test_an_ellipse_of_qupath_is_within_half_a_px_of_its_equation(box: tuple[float, float, float, float]) -> None:
    x0, y0, x1, y1 = box
    corners = [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]
    roi = read_roi({"type": "Polygon", "coordinates": [corners], "isEllipse": True})
    plane = WorkingPlane(3200, 2560, Fraction(1), Fraction(1))
    found = tiled(roi, plane, 640)
    x, y = np.meshgrid(np.arange(plane.w_width) + 0.5 - (x0 + x1) / 2, np.arange(plane.w_height) + 0.5 - (y0 + y1) / 2)

    def inside(wider: float) -> NDArray[np.bool_]:
        within: NDArray[np.bool_] = (x / ((x1 - x0) / 2 + wider)) ** 2 + (y / ((y1 - y0) / 2 + wider)) ** 2 <= 1
        return within

    assert not (found & ~inside(0.5)).any()
    assert not (inside(-0.5) & ~found).any()
    assert found.sum() == pytest.approx(np.pi * (x1 - x0) * (y1 - y0) / 4, rel=0.01)


def test_a_region_holds_something_exactly_when_its_crop_does() -> None:
    mask = np.array([[True, False], [True, True]])
    tissue = TissueMask(mask, np.zeros_like(mask), Fraction(150), Fraction(120))
    area = Area(tissue, RoiMask.from_roi(HOLED), (Box(0, 0, 40, 40),))
    answers = []
    for region in regions(PLANE, 32):
        box = Box(region.w_x0, region.w_y0, region.width, region.height)
        expected = tissue.crop(box, PLANE) & RoiMask.from_roi(HOLED).crop(box, PLANE)
        expected[: max(0, 40 - box.w_y), : max(0, 40 - box.w_x)] = False
        assert np.array_equal(area.crop(box, PLANE), expected)
        assert area.any(region, PLANE) == expected.any()
        answers.append(expected.any())
    assert any(answers)
    assert not all(answers)


def test_holes_are_cut_where_they_are() -> None:
    mask = np.ones((6, 8), np.bool_)
    found = without(mask, (10, 20), (Box(12, 18, 3, 4), Box(0, 0, 5, 5), Box(17, 25, 9, 9)))
    expected = np.ones((6, 8), np.bool_)
    expected[0:2, 2:5] = False
    expected[5, 7] = False
    assert np.array_equal(found, expected)
    assert mask.all()


# --- jobs -------------------------------------------------------------------------------------------------------------


class Witness(Slide):
    """A slide that notes what is read of it."""

    def __init__(self, slide: Slide) -> None:
        self.geometry, self.vendor = slide.geometry, slide.vendor
        self.backend = slide.backend  # type: ignore[misc]
        self.slide = slide
        self.reads: list[tuple[int, int]] = []

    def _read(self, level: int, lv_x: int, lv_y: int, width: int, height: int) -> Pixels:
        self.reads.append((lv_x, lv_y))
        return self.slide.read_level(level, lv_x, lv_y, width, height)

    def close(self) -> None:
        self.slide.close()


@pytest.fixture
def segmented(
    made_slide: Callable[..., Path], stained: Pixels, model_folder: Path, colour: ModuleType, tmp_path: Path
) -> Callable[..., tuple[Path, Plan, list[tuple[int, int]]]]:
    """Return a function that runs a job on the stained slide and returns its folder, its plan and what was read."""
    path = made_slide(stained)

    def run(name: str, **asked: Any) -> tuple[Path, Plan, list[tuple[int, int]]]:
        out_dir = tmp_path / name
        out_dir.mkdir()
        card = find_model(model_folder.parent, model_folder.name).model_copy(update={"tile_px": 256, "halo_px": 16})
        with open_slide(path) as slide:
            witness = Witness(slide)
            info = SlideInfo(
                id="s", filename="a.tif", size_bytes=1, sha256="b" * 64, vendor=slide.vendor, backend=slide.backend,
                geometry=slide.geometry, created_at="2026-01-01T00:00:00Z",
            )  # fmt: skip
            request = JobRequest(slide_id="s", model=card.name, **asked)
            plan = stages.plan_job(witness, info, request, card, out_dir, "job")
            witness.reads.clear()
            engine = colour.ColourEngine(model_folder)
            for index in plan.regions:
                stages.segment_one(witness, plan, index, engine, out_dir)
            reads = list(witness.reads)
            stages.finish_job(witness, info, plan, out_dir, created_at=info.created_at, timings_s={})
        return out_dir, plan, reads

    return run


@pytest.mark.slow
def test_inside_the_region_the_answer_is_that_of_the_whole_slide(
    segmented: Callable[..., tuple[Path, Plan, list[tuple[int, int]]]],
) -> None:
    ring = [[300, 200], [800, 260], [700, 600], [340, 560], [300, 200]]
    roi = {"type": "Polygon", "coordinates": [ring]}
    whole, full_plan, _ = segmented("whole")
    part, plan, reads = segmented("part", roi=roi, outputs=["statistics.json"])
    inside = RoiMask.from_roi(Polygon.model_validate(roi)).crop(Box(0, 0, 1300, 900), WorkingPlane.from_plan(plan))
    for name in (LABELS, CONFIDENCE):
        expected = np.asarray(getattr(stitch.open_labels(whole), name)[:, :])
        found = np.asarray(getattr(stitch.open_labels(part), name)[:, :])
        assert np.array_equal(found, np.where(inside, expected, 0)), name
        assert found.any()
    assert set(plan.regions) < set(full_plan.regions)
    cells = {(x // BLOCK_PX, y // BLOCK_PX) for y, x in np.argwhere(inside)}
    near = {(x + right, y + down) for x, y in cells for right in (-1, 0, 1) for down in (-1, 0, 1)}  # for the halo
    read = {(x // BLOCK_PX, y // BLOCK_PX) for x, y in reads}
    assert cells < read <= near
    assert len(read) < 24
    counted, tissue = read_statistics(part), load_tissue(part)
    mask = tissue.crop(Box(0, 0, 1300, 900), WorkingPlane.from_plan(plan)) & inside
    assert sum(each.pixels for each in counted.classes) == int(mask.sum())
    assert counted.tissue_mm2 == pytest.approx(int(mask.sum()) * 0.25e-6)


def test_only_the_outputs_that_were_asked_for_are_made(
    segmented: Callable[..., tuple[Path, Plan, list[tuple[int, int]]]],
) -> None:
    out_dir, plan, _ = segmented("some", outputs=["preview.png"], roi=[400, 300, 700, 500])
    assert plan.outputs == ("statistics.json", "preview.png")
    made = {path.name for path in out_dir.iterdir()}
    masks = {"tissue.png", "quality.png"}
    assert made == {"statistics.json", "preview.png", "plan.json", "labels.zarr", "result.json"} | masks
