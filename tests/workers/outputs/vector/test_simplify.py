"""Polygons made simpler: near the exact ones, torn nowhere, the same pieces and holes; against shapely and rasterio."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio.features
import scipy.ndimage
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from qupath_rules import assert_qupath_takes

from workers.core.errors.base import ProductRefused
from workers.core.schemas import Plan
from workers.outputs.vector import simplify, tracing, vectorize
from workers.pipeline.stitch import LabelArrays

UInt8 = NDArray[np.uint8]
MakePlan = Callable[..., Plan]
LEGAL = np.array([0, 1, 2, 4], np.uint8)
EPSILON = 1e-6


class Written:
    """The exact and the simplified file of a plane, read back."""

    def __init__(self, folder: Path, arrays: LabelArrays, plan: Plan, step_px: int) -> None:
        self.plan, self.path = plan, folder / "simple.geojson.gz"
        count = vectorize.write_geojson(folder / "exact.geojson.gz", arrays, plan)
        assert vectorize.write_simplified(self.path, arrays, plan, step_px) == count
        self.exact, self.simple = (
            json.loads(gzip.decompress(path.read_bytes())) for path in (folder / "exact.geojson.gz", self.path)
        )
        self.before, self.after = (shapes_of(each) for each in (self.exact, self.simple))


def shapes_of(collection: dict[str, Any]) -> NDArray[np.object_]:
    return np.array([shapely.geometry.shape(each["geometry"]) for each in collection["features"]], dtype=object)


@pytest.fixture(scope="module")
def write(
    make_plan: MakePlan, watched: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Written]:
    """Return a function that writes the polygons of a plane, exact and simplified."""

    def make(labels: UInt8, step_px: int, **changes: Any) -> Written:
        folder = tmp_path_factory.mktemp("simple")
        plane = watched(labels, 64)
        plan = make_plan(labels.shape[1], labels.shape[0], **changes)
        return Written(folder, LabelArrays(plane, plane), plan, step_px)

    return make


def smooth(height: int, width: int, seed: int, sigma: float) -> UInt8:
    """Winding shapes of all classes, wider than a pixel the larger sigma is."""
    rng = np.random.default_rng(seed)
    fields = [scipy.ndimage.gaussian_filter(rng.normal(size=(height, width)), sigma) for _ in LEGAL]
    chosen: UInt8 = LEGAL[np.argmax(fields, axis=0)]
    return chosen


def speckled(height: int, width: int, seed: int, share: float) -> UInt8:
    rng = np.random.default_rng(seed)
    return rng.choice(LEGAL, (height, width), p=[1 - share, share / 2, share / 4, share / 4])


def farthest(one: Any, other: Any) -> float:
    """Hausdorff distance of two boundaries, with points put on them every tenth of a pixel or so."""
    one, other = (shapely.segmentize(shape.boundary, 0.1) for shape in (one, other))
    return float(shapely.hausdorff_distance(one, other))


def assert_sound(written: Written, frame: Any, step: float) -> None:
    """Check everything that holds of any plane; `step` in level-0 px."""
    assert_qupath_takes(written.simple)
    known = [{**each, "geometry": None} for each in written.exact["features"]]
    assert [{**each, "geometry": None} for each in written.simple["features"]] == known
    for before, after in zip(written.before, written.after, strict=True):
        assert shapely.is_valid(after), shapely.is_valid_reason(after)
        assert (after.geom_type, len(after.interiors)) == ("Polygon", len(before.interiors))
        assert shapely.is_ccw(after.exterior) == shapely.is_ccw(before.exterior)
        assert farthest(before, after) <= step + EPSILON
        assert set(shapely.get_coordinates(after)[0]) <= set(shapely.get_coordinates(before).ravel())
    if not len(written.after):
        return
    assert shapely.coverage_is_valid(written.after)  # no overlap, and what two share they share vertex by vertex
    union = shapely.union_all(written.after)
    assert union.area == pytest.approx(shapely.area(written.after).sum(), abs=EPSILON)
    faces = [shapely.get_parts(shapely.difference(frame, each)) for each in (union, shapely.union_all(written.before))]
    assert len(faces[0]) == len(faces[1])  # background opened or closed nowhere


@pytest.mark.slow
@settings(max_examples=60)
@given(
    size=st.tuples(st.integers(1, 26), st.integers(1, 26)),
    seed=st.integers(0, 9999),
    kind=st.sampled_from([0.1, 0.5, 0.9, "smooth 0.7", "smooth 1.5"]),
    step_px=st.sampled_from([1, 2, 4]),
    piece=st.sampled_from([3, 512]),
)
def test_whatever_the_labels_nothing_is_torn_lost_or_far(
    write: Callable[..., Written],
    size: tuple[int, int],
    seed: int,
    kind: float | str,
    step_px: int,
    piece: int,
) -> None:
    sigma = kind.removeprefix("smooth ") if isinstance(kind, str) else None
    labels = speckled(*size, seed, float(kind)) if sigma is None else smooth(*size, seed, float(sigma))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simplify, "PIECE_VERTICES", piece)
        written = write(labels, step_px)
    assert_sound(written, shapely.box(-1, -1, size[1] + 1, size[0] + 1), step_px)


def test_a_staircase_between_two_classes_becomes_one_straight_edge(write: Callable[..., Written]) -> None:
    labels = np.where(np.tri(20, 20, dtype=bool), np.uint8(1), np.uint8(2))
    two, one = write(labels, 1).after
    # It begins and ends at background; the stairs between are 0.71 px off. The corner (20, 20) is within 1 px as well.
    assert shapely.equals(one, shapely.Polygon([(0, 0), (1, 0), (20, 19), (0, 20)]))
    assert shapely.equals(two, shapely.Polygon([(1, 0), (20, 0), (20, 19)]))


@pytest.mark.parametrize("step_px", [1, 2, 4])
def test_a_pixel_a_line_and_a_pinhole_smaller_than_the_step_stay(write: Callable[..., Written], step_px: int) -> None:
    labels = np.zeros((40, 40), np.uint8)
    labels[2, 2] = 1
    labels[6, 4:30] = 2
    labels[12:30, 10:30] = 4
    labels[20, 20] = 0
    labels[24:26, 20:22] = 1
    written = write(labels, step_px)
    assert_sound(written, shapely.box(-1, -1, 41, 41), step_px)
    assert all(shapely.equals(one, other) for one, other in zip(written.before, written.after, strict=True))


def test_no_edge_closes_a_bay_over_the_island_in_it(write: Callable[..., Written]) -> None:
    labels = np.zeros((30, 60), np.uint8)
    labels[10:25, 5:55] = 1
    labels[10:13, 28:32] = 0  # a bay that a step of 4 px would level
    labels[11, 30] = 2
    written = write(labels, 4)
    assert_sound(written, shapely.box(-1, -1, 61, 31), 4)
    shore, island = sorted(written.after, key=shapely.area, reverse=True)
    assert not shapely.intersects(shore, island)
    labels[11, 30] = 0
    [shore] = write(labels, 4).after
    assert shapely.equals(shore, shapely.box(5, 10, 55, 25))


@pytest.mark.parametrize(("step_px", "changed_share", "vertex_share"), [(1, 0.05, 0.4), (2, 0.08, 0.3), (4, 0.11, 0.3)])
def test_drawn_again_only_pixels_at_borders_differ(
    write: Callable[..., Written], step_px: int, changed_share: float, vertex_share: float
) -> None:
    labels = smooth(260, 300, 5, 6)
    written = write(labels, step_px)
    values = {each.name: each.index for each in written.plan.classes}
    classes = [values[each["properties"]["classification"]["name"]] for each in written.simple["features"]]
    drawn = rasterio.features.rasterize(zip(written.after, classes, strict=True), labels.shape, dtype="uint8")
    changed = drawn != labels
    assert changed.mean() < changed_share
    borders = shapely.union_all([each.boundary for each in written.before])
    shapely.prepare(borders)
    w_y, w_x = np.nonzero(changed)
    assert shapely.dwithin(shapely.points(w_x + 0.5, w_y + 0.5), borders, step_px + EPSILON).all()
    before, after = (shapely.get_num_coordinates(each).sum() for each in (written.before, written.after))
    assert after < before * vertex_share


@pytest.mark.slow
def test_on_a_broken_scale_what_is_written_is_as_sound(write: Callable[..., Written]) -> None:
    labels = np.concatenate([smooth(90, 70, 1, 3), speckled(90, 20, 1, 0.5)], axis=1)
    written = write(labels, 2, model_mpp=0.5, mpp_x=0.4321, mpp_y=0.2345)
    assert_sound(written, shapely.box(-1, -1, 120, 300), 2 * 0.5 / 0.2345)


@pytest.mark.parametrize("step_px", [1, 4])
def test_nuclei_that_people_drew(write: Callable[..., Written], shared_data: Path, step_px: int) -> None:
    path = shared_data / "consep" / "test" / "type_masks" / "test_9_001.png"
    if not path.is_file():
        pytest.skip(f"no real mask at {path}")
    with Image.open(path) as image:
        labels = LEGAL[np.minimum(np.asarray(image), 3)]
    written = write(labels, step_px)
    assert len(written.after) > 10
    assert_sound(written, shapely.box(-1, -1, 257, 257), step_px)
    before, after = (shapely.get_num_coordinates(each).sum() for each in (written.before, written.after))
    assert after < before / 2


def test_chunks_and_bands_do_not_change_a_byte(write: Callable[..., Written], monkeypatch: pytest.MonkeyPatch) -> None:
    labels = smooth(120, 150, 2, 2)
    whole = write(labels, 1).path.read_bytes()
    monkeypatch.setattr(tracing, "BAND_PX", 150 * 7)
    monkeypatch.setattr(simplify, "EDGES_AT_ONCE", 50)
    written = write(labels, 1)
    assert written.path.read_bytes() == whole
    assert written.simple["simplified_px"] == 1


def test_a_plane_of_background_gives_an_empty_collection(write: Callable[..., Written]) -> None:
    assert write(np.zeros((30, 30), np.uint8), 1).simple["features"] == []


def test_more_corners_than_there_is_memory_for_are_refused(
    make_plan: MakePlan, watched: Callable[..., Any], tmp_path: Path
) -> None:
    labels = np.zeros((9, 9), np.uint8)
    labels[2:4, 2:4] = 1
    plane, enough = watched(labels, 64), 4 * vectorize.BYTES_PER_CORNER
    given = LabelArrays(plane, plane), make_plan(9, 9), 1
    assert vectorize.write_simplified(tmp_path / "more.gz", *given, enough) == 1
    with pytest.raises(ProductRefused, match="too little memory"):
        vectorize.write_simplified(tmp_path / "less.gz", *given, enough - 1)
    assert [path.name for path in tmp_path.iterdir()] == ["more.gz"]


def test_more_corners_than_memory_is_meant_for_are_refused(
    write: Callable[..., Written], monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = np.zeros((9, 9), np.uint8)
    labels[2:4, 2:4] = labels[6:8, 6:8] = 1
    monkeypatch.setattr(vectorize, "CORNERS_MAX", 8)
    assert len(write(labels, 1).after) == 2
    monkeypatch.setattr(vectorize, "CORNERS_MAX", 7)
    with pytest.raises(ProductRefused, match="too many corners"):
        write(labels, 1)
