"""Polygons of a label plane: drawn again they are the plane; QuPath's rules hold; reading leaves no trace."""

import gzip
import json
import uuid
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio.features
import shapely
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from qupath_rules import assert_qupath_takes

from workers.core.schemas import Plan
from workers.outputs.vector import bands, geojson, sheet, tracing, vectorize
from workers.pipeline import stitch
from workers.pipeline.stitch import LabelArrays
from workers.pipeline.tiling import WorkingPlane, regions

UInt8 = NDArray[np.uint8]
MakePlan = Callable[..., Plan]
LEGAL = (0, 1, 2, 4)


def blobs(height: int, width: int, seed: int = 3) -> UInt8:
    """A stroma that covers nearly everything, full of holes with nuclei in them, and speckles."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    labels = np.full((height, width), 2, np.uint8)
    for _ in range(height * width // 900):
        center_y, center_x, radius = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(2, 9)
        distance = np.hypot(y - center_y, (x - center_x) * rng.uniform(0.7, 1.4))
        labels[distance < radius + 2] = 0
        labels[distance < radius] = rng.choice([1, 4])
    labels[rng.random((height, width)) < 0.02] = 0
    labels[: height // 10] = 0
    return labels


@pytest.fixture
def features_of(make_plan: MakePlan, watched: Callable[..., Any], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Return a function that writes the polygons of a plane and reads the file back."""

    def make(labels: UInt8, confidence: UInt8 | None = None, plan: Plan | None = None) -> dict[str, Any]:
        plan = plan or make_plan(labels.shape[1], labels.shape[0])
        sure = labels if confidence is None else confidence
        path = tmp_path / "regions.geojson.gz"
        count = vectorize.write_geojson(path, LabelArrays(watched(labels, 64), watched(sure, 64)), plan)
        with gzip.open(path) as file:
            written: dict[str, Any] = json.load(file)
        assert count == len(written["features"])
        assert_qupath_takes(written)
        return written

    return make


def class_of(feature: dict[str, Any], plan: Plan) -> int:
    return next(each.index for each in plan.classes if each.name == feature["properties"]["classification"]["name"])


def test_drawn_again_the_polygons_are_the_labels(
    features_of: Callable[..., dict[str, Any]], make_plan: MakePlan
) -> None:
    labels = blobs(300, 420)
    plan = make_plan(420, 300)
    features = features_of(labels, plan=plan)["features"]
    drawn = [(feature["geometry"], class_of(feature, plan)) for feature in features]
    np.testing.assert_array_equal(rasterio.features.rasterize(drawn, labels.shape, dtype="uint8"), labels)


def test_shapes_and_areas_are_those_that_rasterio_finds(
    features_of: Callable[..., dict[str, Any]], make_plan: MakePlan
) -> None:
    labels = blobs(300, 420)
    plan = make_plan(420, 300)
    mine = {
        shapely.normalize(shapely.geometry.shape(feature["geometry"])).wkt: class_of(feature, plan)
        for feature in features_of(labels, plan=plan)["features"]
    }
    theirs = {
        shapely.normalize(shapely.geometry.shape(geometry)).wkt: int(value)
        for geometry, value in rasterio.features.shapes(labels, mask=labels > 0, connectivity=4)
    }
    assert len(mine) > 100
    assert mine == theirs


@pytest.mark.slow
def test_every_polygon_is_valid_and_its_area_is_its_pixels(features_of: Callable[..., dict[str, Any]]) -> None:
    labels = np.random.default_rng(1).choice(np.array(LEGAL, np.uint8), (150, 170), p=[0.3, 0.5, 0.1, 0.1])
    features = features_of(labels)["features"]
    total = 0
    for feature in features:
        polygon = shapely.geometry.shape(feature["geometry"])
        assert shapely.is_valid(polygon), shapely.is_valid_reason(polygon)
        assert feature["properties"]["measurements"]["Area um^2"] == polygon.area * 0.25
        for ring in feature["geometry"]["coordinates"]:
            assert ring[0] == ring[-1]
            assert len(ring) >= 5
            assert len({tuple(point) for point in ring}) == len(ring) - 1
        total += int(polygon.area)
    assert total == np.count_nonzero(labels)


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    seed=st.integers(0, 999),
    chunk=st.integers(1, 45),
    band_px=st.integers(1, 2000),
)
def test_chunks_and_bands_do_not_change_a_byte(
    make_plan: MakePlan,
    watched: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
    height: int,
    width: int,
    seed: int,
    chunk: int,
    band_px: int,
) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.choice(np.array([0, 1, 2], np.uint8), (height, width), p=[0.4, 0.5, 0.1])
    sure = rng.integers(0, 256, (height, width), dtype=np.uint8)
    path = tmp_path_factory.mktemp("bands") / "regions.geojson.gz"
    plan = make_plan(width, height)
    vectorize.write_geojson(path, LabelArrays(watched(labels, 4096), watched(sure, 4096)), plan)
    whole = path.read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracing, "BAND_PX", band_px)
        vectorize.write_geojson(path, LabelArrays(watched(labels, chunk), watched(sure, chunk)), plan)
    assert path.read_bytes() == whole


@pytest.mark.slow
def test_region_size_does_not_change_a_byte_on_disk(make_plan: MakePlan, tmp_path: Path) -> None:
    labels = blobs(600, 700)
    files = []
    for region_px in (256, 512):
        folder = tmp_path / str(region_px)
        folder.mkdir()
        plan = make_plan(700, 600, region_px)
        stitch.create_label_array(folder, plan)
        for region in regions(WorkingPlane.from_plan(plan), region_px):
            core = labels[region.w_y0 : region.w_y1, region.w_x0 : region.w_x1]
            stitch.write_region(folder, plan, region, core, core * np.uint8(60))
        vectorize.write_geojson(folder / "regions.geojson.gz", stitch.open_labels(folder), plan)
        files.append((folder / "regions.geojson.gz").read_bytes())
    assert files[0] == files[1]
    assert files[0][4:8] == bytes(4)  # no time of writing in the gzip header


def test_the_file_follows_the_rules_of_qupath(features_of: Callable[..., dict[str, Any]], make_plan: MakePlan) -> None:
    labels = np.zeros((40, 60), np.uint8)
    labels[3:9, 5:10] = 1
    labels[20:30, 20:30] = 4
    plan = make_plan(60, 40, bounds=(7, 9, 50, 30))
    written = features_of(labels, np.full((40, 60), 204, np.uint8), plan)
    assert list(written) == ["type", "coordinate_space", "bounds_offset", "features"]
    assert (written["type"], written["coordinate_space"]) == ("FeatureCollection", "level0")
    assert written["bounds_offset"] == [7, 9]
    first, second = written["features"]
    assert first == {
        "type": "Feature",
        "id": first["id"],
        "geometry": {"type": "Polygon", "coordinates": [[[5, 3], [10, 3], [10, 9], [5, 9], [5, 3]]]},
        "properties": {
            "objectType": "annotation",
            "isLocked": True,
            "classification": {"name": "nucleus", "color": [200, 30, 60]},
            "measurements": {
                "Area um^2": 7.5,
                "Mean probability": 0.8,
                "Perimeter um": 9.8733,
                "Circularity": 0.9668,
            },
        },
    }
    assert second["properties"]["classification"] == {"name": "café <µ>", "color": [0, 90, 220]}
    assert uuid.UUID(first["id"]).version == 5
    assert first["id"] != second["id"]


def test_identifiers_are_of_job_class_and_first_pixel_alone(
    features_of: Callable[..., dict[str, Any]], make_plan: MakePlan
) -> None:
    def identifier(labels: UInt8, **changes: Any) -> str:
        plan = make_plan(labels.shape[1], labels.shape[0], **changes)
        found: str = features_of(labels, plan=plan)["features"][0]["id"]
        return found

    labels = np.zeros((9, 9), np.uint8)
    labels[2:5, 3:6] = 1
    grown = labels.copy()
    grown[4:8, 3] = 1
    assert identifier(labels) == identifier(grown) == identifier(labels, region_px=4)
    others = [labels * np.uint8(2), np.roll(labels, 1, 0), np.roll(labels, 1, 1)]
    found = {identifier(labels), identifier(labels, job_id="a" * 32), *map(identifier, others)}
    assert len(found) == 5


@pytest.mark.parametrize(("shapes", "object_type"), [(2000, "annotation"), (2001, "detection")])
def test_many_shapes_are_detections(
    features_of: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch, shapes: int, object_type: str
) -> None:
    monkeypatch.setattr(tracing, "BAND_PX", 200 * 8)
    labels = np.zeros((100, 200), np.uint8)
    dots = np.zeros(50 * 100, np.uint8)
    dots[np.linspace(0, len(dots) - 1, shapes).astype(int)] = 1
    labels[::2, ::2] = dots.reshape(50, 100)
    features = features_of(labels)["features"]
    assert len(features) == shapes
    assert {feature["properties"]["objectType"] for feature in features} == {object_type}


def test_a_plane_of_background_gives_an_empty_collection(features_of: Callable[..., dict[str, Any]]) -> None:
    assert features_of(np.zeros((30, 30), np.uint8))["features"] == []


def test_coordinates_are_level_0_pixels(features_of: Callable[..., dict[str, Any]], make_plan: MakePlan) -> None:
    labels = np.zeros((50, 50), np.uint8)
    labels[7:11, 3:31] = 1
    plan = make_plan(50, 50, model_mpp=0.5, mpp_x=0.25, mpp_y=0.499)
    [feature] = features_of(labels, plan=plan)["features"]
    top, bottom = 7.014, 11.022  # 500/499 × 7 and 11, to four decimals
    assert feature["geometry"]["coordinates"] == [[[6, top], [62, top], [62, bottom], [6, bottom], [6, top]]]
    assert feature["properties"]["measurements"]["Area um^2"] == 28.0


@given(numerator=st.integers(1, 5000), denominator=st.integers(1, 500), length=st.integers(0, 300))
def test_positions_are_exact_to_the_last_decimal_and_grow(numerator: int, denominator: int, length: int) -> None:
    scale = Fraction(numerator, denominator)
    texts = sheet.l0_texts(scale, length)
    assert len(texts) == length + 1
    positions = [Fraction(text) for text in texts]
    assert all(abs(position - w * scale) <= Fraction(1, 20_000) for w, position in enumerate(positions))
    assert all(one < other for one, other in pairwise(positions))
    assert json.loads("[" + ",".join(texts) + "]")
    assert not any("e" in text for text in texts)


def test_polygons_on_a_broken_scale_are_valid(features_of: Callable[..., dict[str, Any]], make_plan: MakePlan) -> None:
    labels = np.random.default_rng(5).choice(np.array([0, 1], np.uint8), (80, 90))
    plan = make_plan(90, 80, model_mpp=0.5, mpp_x=0.4321, mpp_y=0.4567)
    for feature in features_of(labels, plan=plan)["features"]:
        polygon = shapely.geometry.shape(feature["geometry"])
        assert shapely.is_valid(polygon), shapely.is_valid_reason(polygon)
        um2 = polygon.area * 0.4321 * 0.4567
        assert um2 == pytest.approx(feature["properties"]["measurements"]["Area um^2"], rel=1e-3)


@pytest.mark.slow
def test_no_read_spans_more_than_a_block(
    make_plan: MakePlan, watched: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bands, "BLOCK_PX", 128)
    monkeypatch.setattr(tracing, "BAND_PX", 600 * 100)
    array = watched(blobs(500, 600), 64)
    vectorize.write_geojson(tmp_path / "regions.geojson.gz", LabelArrays(array, array), make_plan(600, 500))
    assert max(rows for rows, _ in array.reads) <= 100
    assert max(columns for _, columns in array.reads) <= 128


def test_a_ring_longer_than_one_piece_is_written_whole(
    features_of: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = blobs(200, 200)
    whole = features_of(labels)
    monkeypatch.setattr(geojson, "PIECES_AT_ONCE", 3)
    assert features_of(labels) == whole
