"""The table of objects, from a slide to the file: against a slow literal measurement, and the same bytes anyhow."""

import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from math import ceil, floor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
from made_models import write_model_config
from numpy.typing import NDArray
from scipy import ndimage
from skimage.color import rgb_from_hed
from skimage.measure import perimeter_crofton, regionprops

from workers import masks, stages
from workers.core.model.catalogue import find_model
from workers.core.schemas import JobRequest, Plan
from workers.core.slide_schemas import SlideInfo
from workers.core.slides.readers.registry import open_slide
from workers.core.slides.slide import Slide
from workers.outputs.stain import haematoxylin
from workers.outputs.statistics import read_statistics
from workers.outputs.vector import object_table, tracing
from workers.pipeline import stitch
from workers.pipeline.plane import PlaneReader
from workers.pipeline.tiling import Box, WorkingPlane

MOMENT = datetime(2026, 1, 2, tzinfo=UTC)
ROI = [250.0, 130.0, 800.0, 640.0]
SMALLEST_UM2 = 50.0


@pytest.fixture
def path(made_slide: Callable[..., Path], stained: NDArray[np.uint8]) -> Path:
    return made_slide(stained, "stained.tif", mpp=0.5)


@contextmanager
def finished(
    path: Path, folder: Path, colour: ModuleType, order: Callable[[list[int]], list[int]] = list, **asked: Any
) -> Iterator[tuple[Slide, Plan]]:
    """Take a slide through the stages with a model that gives an interior map; each half of the regions by its own."""
    model = folder.parent / "models" / "made-model"
    if not model.exists():
        write_model_config(model, interior_um=2, smallest_um2=SMALLEST_UM2)
    card = find_model(model.parent, model.name)
    engines = [colour.ColourEngine(model), colour.ColourEngine(model)]
    request = JobRequest(slide_id="s", model=model.name, tissue=False, **asked)
    folder.mkdir()
    with open_slide(path) as slide:
        info = SlideInfo(
            id="s", filename="stained.tif", size_bytes=1, sha256="b" * 64, vendor=slide.vendor, backend=slide.backend,
            geometry=slide.geometry, created_at=MOMENT,
        )  # fmt: skip
        plan = stages.plan_job(slide, info, request, card, folder, "job")
        for turn, index in enumerate(order(list(plan.regions))):
            stages.segment_one(slide, plan, index, engines[turn % 2], folder)
        stages.finish_job(slide, info, plan, folder, created_at=MOMENT, timings_s={})
        yield slide, plan


def features(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(gzip.decompress((folder / "regions.geojson.gz").read_bytes()))["features"]
    return found


def objects_of(folder: Path) -> NDArray[np.int32]:
    """Number the objects of a job's plane, without any order."""
    arrays = stitch.open_labels(folder)
    assert arrays.objects is not None
    values = np.asarray(arrays.objects[:, :])
    found = np.zeros(values.shape, np.int32)
    for value in np.unique(values[values > 0]):
        pieces, _ = ndimage.label(values == value)
        found[pieces > 0] = pieces[pieces > 0] + found.max()
    return found


def stain_of(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    density = -np.log10(np.maximum(pixels, 1) / 255)
    return np.asarray(density @ np.linalg.inv(rgb_from_hed)[:, 0])


@pytest.mark.slow
def test_rows_are_what_a_literal_measurement_of_the_whole_plane_gives(
    path: Path, tmp_path: Path, colour: ModuleType
) -> None:
    folder = tmp_path / "job"
    with finished(path, folder, colour, region_px=256, roi=ROI) as (slide, plan):
        pixels = PlaneReader(slide, WorkingPlane.from_plan(plan), plan.level).read(0, 0, plan.w_width, plan.w_height)
        inside = masks.area_of(masks.load_tissue(folder), plan.roi).crop(
            Box(0, 0, plan.w_width, plan.w_height), WorkingPlane.from_plan(plan)
        )
    rows = pq.read_table(folder / "objects.parquet").to_pylist()
    confidence = np.asarray(stitch.open_labels(folder).confidence[:, :])
    stain, numbers = stain_of(pixels), objects_of(folder)
    outer = np.pad(inside, 1)
    beside = ndimage.binary_dilation(~outer, ndimage.generate_binary_structure(2, 1))[1:-1, 1:-1]
    wanted = {}
    for each in regionprops(numbers):
        if each.area * 0.25 < SMALLEST_UM2:
            continue
        perimeter = perimeter_crofton(np.pad(each.image, 1), directions=4)
        where = numbers == each.label
        first = np.argwhere(where)[0]
        wanted[tuple(first)] = {
            "x": each.centroid[1] + 0.5,
            "y": each.centroid[0] + 0.5,
            "area_um2": each.area * 0.25,
            "perimeter_um": perimeter * 0.5,
            "major_axis_um": each.axis_major_length * 0.5,
            "minor_axis_um": each.axis_minor_length * 0.5,
            "circularity": min(1, 4 * np.pi * each.area / perimeter**2),
            "haematoxylin_od": stain[where].mean(),
            "confidence": confidence[where].mean() / 255,
            "touches_border": bool((where & beside).any()),
            "box": each.bbox,
        }
    assert len(rows) == len(wanted) > 100
    assert 5 < sum(each["touches_border"] for each in rows) < len(rows)
    for row in rows:
        polygon = shapely.from_wkb(row["geometry"])
        x, y = shapely.get_coordinates(polygon)[0]
        known = wanted.pop((int(y), int(x)))
        top, left, bottom, right = known.pop("box")
        assert row["bbox"] == {"xmin": left, "ymin": top, "xmax": right, "ymax": bottom}
        assert polygon.bounds == (left, top, right, bottom)
        assert {name: row[name] for name in known} == pytest.approx(known, abs=6e-4)
        assert polygon.is_valid
        assert polygon.area * 0.25 == row["area_um2"]
        assert (row["class"], row["class_index"]) == ("nucleus", 1)


@pytest.mark.slow
def test_regions_workers_and_bands_change_no_byte(
    path: Path, tmp_path: Path, colour: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("objects.parquet", "regions.geojson.gz")
    with finished(path, tmp_path / "a", colour, region_px=256):
        whole = {name: (tmp_path / "a" / name).read_bytes() for name in names}
    monkeypatch.setattr(tracing, "BAND_PX", 1300 * 90 * 2)
    with finished(path, tmp_path / "b", colour, lambda all_of_them: all_of_them[::-1], region_px=512):
        assert {name: (tmp_path / "b" / name).read_bytes() for name in names} == whole
    monkeypatch.setattr(object_table, "GROUP_BYTES", 12_000)
    with finished(path, tmp_path / "c", colour, region_px=256):
        groups = pq.ParquetFile(tmp_path / "c" / "objects.parquet")
        assert groups.num_row_groups > 3
        assert groups.read() == pq.read_table(tmp_path / "a" / "objects.parquet")


@pytest.mark.slow
def test_the_table_follows_the_polygons_and_the_statistics_count_both(
    path: Path, tmp_path: Path, colour: ModuleType
) -> None:
    folder = tmp_path / "job"
    with finished(path, folder, colour, region_px=512) as _:
        rows = pq.read_table(folder / "objects.parquet").to_pylist()
        polygons = features(folder)
    assert [row["id"] for row in rows] == [each["id"] for each in polygons]
    for row, each in zip(rows, polygons, strict=True):
        measured = each["properties"]["measurements"]
        assert shapely.from_wkb(row["geometry"]) == shapely.geometry.shape(each["geometry"])
        assert measured == {
            "Area um^2": pytest.approx(row["area_um2"], abs=1e-4),
            "Mean probability": pytest.approx(row["confidence"], abs=1e-4),
            "Perimeter um": pytest.approx(row["perimeter_um"], abs=1e-4),
            "Circularity": pytest.approx(row["circularity"], abs=1e-4),
            "Hematoxylin OD mean": row["haematoxylin_od"],
        }
    [_, nuclei] = read_statistics(folder).classes
    areas_um2 = np.bincount(objects_of(folder).ravel())[1:] * 0.25
    small = areas_um2[areas_um2 < SMALLEST_UM2]
    assert (nuclei.count, nuclei.small_count) == (len(rows), len(small))
    assert len(small) > 10
    assert nuclei.small_mm2 == pytest.approx(small.sum() / 1e6)
    assert nuclei.largest_um2 == areas_um2.max()
    assert nuclei.largest_box in {
        (floor(box["xmin"]), floor(box["ymin"]), ceil(box["xmax"]), ceil(box["ymax"]))
        for box in (row["bbox"] for row in rows if row["area_um2"] == pytest.approx(areas_um2.max()))
    }
    assert nuclei.density_per_mm2 == pytest.approx(len(rows) / read_statistics(folder).tissue_mm2)
    assert nuclei.mm2 == pytest.approx(areas_um2.sum() / 1e6)


@pytest.mark.slow
def test_the_file_is_geoparquet(path: Path, tmp_path: Path, colour: ModuleType) -> None:
    with finished(path, tmp_path / "job", colour, region_px=512):
        file = pq.ParquetFile(tmp_path / "job" / "objects.parquet")
    geo = json.loads(file.metadata.metadata[b"geo"])
    column = geo["columns"][geo["primary_column"]]
    assert (geo["version"], column["encoding"], column["geometry_types"]) == ("1.1.0", "WKB", ["Polygon"])
    assert column["crs"] is None
    assert set(column["covering"]["bbox"]) == {"xmin", "ymin", "xmax", "ymax"}
    for name, place in column["covering"]["bbox"].items():
        assert place == ["bbox", name]
    shapes = shapely.from_wkb(file.read(["geometry"]).column(0).to_pylist())
    assert all(shape.exterior.is_ccw and not any(hole.is_ccw for hole in shape.interiors) for shape in shapes)


@pytest.mark.slow
def test_without_the_table_polygons_and_statistics_do_without_it(
    path: Path, tmp_path: Path, colour: ModuleType
) -> None:
    with finished(path, tmp_path / "with", colour, region_px=512):
        pass
    some = ["regions.geojson.gz", "statistics.json"]
    with finished(path, tmp_path / "without", colour, region_px=512, outputs=some):
        assert not (tmp_path / "without" / "objects.parquet").exists()
    for one, other in zip(*(features(tmp_path / name) for name in ("with", "without")), strict=True):
        assert one["properties"]["measurements"].pop("Hematoxylin OD mean") is not None
        assert one == other
    assert read_statistics(tmp_path / "with") == read_statistics(tmp_path / "without")


def test_the_stain_is_that_of_the_fixed_vectors() -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (60, 70, 3), dtype=np.uint8)
    found = haematoxylin(pixels).astype(float) / 1000 - 1
    np.testing.assert_allclose(found, np.clip(stain_of(pixels), -1, 3.095), atol=5.1e-4)
    assert haematoxylin(np.full((1, 1, 3), 255, np.uint8))[0, 0] == 1000
