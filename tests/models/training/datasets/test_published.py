"""Adapters for sets that are not at hand, on small files made in their published layouts; and polygons to pixels."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from made_dataset import half, write_image
from numpy.typing import NDArray
from rasterio.features import rasterize
from rasterio.transform import Affine

from models.training.datasets.bcss import CODES
from models.training.datasets.pannuke import ORGANS
from models.training.datasets.polygons import fill, paint
from models.training.datasets.records import DatasetIndex, read_sample
from models.training.datasets.registry import open_dataset
from models.training.datasets.sample import IGNORE, DatasetConfig, Sample

POINTS = st.tuples(st.integers(-24, 144), st.integers(-24, 144))
RINGS = st.lists(st.lists(POINTS, min_size=3, max_size=8), min_size=1, max_size=2)
SQUARE = [[2, 2], [10, 2], [10, 10], [2, 10], [2, 2]]
HOLE = [[4, 4], [6, 4], [6, 6], [4, 6], [4, 4]]


def opened(folder: Path, adapter: str, variant: str = "") -> DatasetIndex:
    return open_dataset(DatasetConfig(folder.name, adapter=adapter, variant=variant), folder)


def samples(index: DatasetIndex) -> list[Sample]:
    assert index.mpp is not None
    return [read_sample(record, index.mpp, len(index.classes)) for record in index.records]


# --- polygons ---------------------------------------------------------------------------------------------------------


@given(rings=RINGS)
def test_fill_is_the_even_odd_rule_at_pixel_centres(rings: list[list[tuple[int, int]]]) -> None:
    # Off the pixel centres by a little, so that none lies exactly on an edge.
    arrays = [np.array(ring, np.float64) / 8 + 0.0137 for ring in rings]
    expected = np.zeros((13, 11), bool)
    for row in range(13):
        for column in range(11):
            crossings = sum(crosses(ring, column + 0.5, row + 0.5) for ring in arrays)
            expected[row, column] = crossings % 2 == 1
    assert np.array_equal(fill(arrays, (13, 11)), expected)
    painted = np.zeros((13, 11), np.uint8)
    paint(painted, arrays, 7)
    assert np.array_equal(painted == 7, expected)


def crosses(ring: NDArray[np.float64], x: float, y: float) -> int:
    """Edges of a ring that a ray from (x, y) to the left meets, counted one by one."""
    count = 0
    for (x0, y0), (x1, y1) in zip(ring, [*ring[1:], ring[0]], strict=True):
        if (y0 > y) != (y1 > y) and x0 + (y - y0) * (x1 - x0) / (y1 - y0) <= x:
            count += 1
    return count


def test_fill_agrees_with_gdal_and_shapely_on_a_star_with_a_hole() -> None:
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    radius = np.where(np.arange(40) % 2, 13.3, 27.9)
    outer = np.stack([31.3 + radius * np.cos(angles), 30.1 + radius * np.sin(angles)], axis=1)
    inner = np.array([[25.2, 26.3], [36.1, 25.4], [33.7, 35.9]])
    star = shapely.Polygon(outer, [inner])
    mask = fill([outer, inner], (60, 64))
    assert np.array_equal(mask, rasterize([star], out_shape=(60, 64), transform=Affine.identity()) == 1)
    rows, columns = np.mgrid[:60, :64] + 0.5
    assert np.array_equal(mask, shapely.contains_xy(star, columns, rows))


# --- PUMA -------------------------------------------------------------------------------------------------------------


def feature(name: str, coordinates: Any, kind: str = "Polygon") -> dict[str, Any]:
    geometry = {"type": kind, "coordinates": coordinates}
    properties = {"objectType": "annotation", "classification": {"name": name, "color": [200, 0, 0]}}
    return {"type": "Feature", "id": "1", "geometry": geometry, "properties": properties}


def write_puma(folder: Path, kind: str, features: list[dict[str, Any]]) -> None:
    stem = "training_set_primary_roi_001"
    write_image(folder / "01_training_dataset_tif_ROIs" / f"{stem}.tif", np.zeros((16, 20, 4), np.uint8))
    path = folder / f"01_training_dataset_geojson_{kind}" / f"{stem}_{kind}.geojson"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def test_puma_tissue_is_painted_in_the_order_of_the_file(tmp_path: Path) -> None:
    corner = [[0, 0], [3, 0], [3, 3], [0, 3]]
    parts = [[[[12, 0], [14, 0], [14, 2], [12, 2]]], [[[16, 4], [20, 4], [20, 30], [16, 30]]]]
    features = [
        feature("tissue_stroma", [SQUARE, HOLE]),
        feature("tissue_tumor", [corner]),
        feature("tissue_necrosis", parts, "MultiPolygon"),
    ]
    write_puma(tmp_path, "tissue", features)
    expected = np.zeros((16, 20), np.uint8)
    expected[2:10, 2:10] = 1
    expected[4:6, 4:6] = 0
    expected[:3, :3] = 3
    expected[:2, 12:14] = 5
    expected[4:, 16:] = 5
    index = opened(tmp_path, "puma")
    (sample,) = samples(index)
    assert np.array_equal(sample.labels, expected)
    assert (sample.image.shape, sample.instances, index.mpp) == ((16, 20, 3), None, 0.2265)
    assert [one.name for one in index.classes][3] == "tumor"


def test_puma_nuclei_are_numbered(tmp_path: Path) -> None:
    features = [feature("nuclei_lymphocyte", [SQUARE]), feature("nuclei_apoptosis", [[[8, 8], [14, 8], [14, 14]]])]
    write_puma(tmp_path, "nuclei", features)
    (sample,) = samples(opened(tmp_path, "puma", "nuclei"))
    (coarse,) = samples(opened(tmp_path, "puma", "nuclei3"))
    assert sample.instances is not None
    assert np.unique(sample.labels[sample.instances == 1]).tolist() == [2]
    assert np.unique(sample.labels[sample.instances == 2]).tolist() == [10]
    assert np.array_equal(sample.instances == 0, sample.labels == 0)
    assert (sample.instances == 1).sum() == 64 - (sample.instances[8:10, 8:10] == 2).sum()
    assert np.array_equal(coarse.labels, np.array([0, 2, 3], np.uint8)[sample.instances])


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([feature("tissue_bone", [SQUARE])], "class 'tissue_bone'; known: tissue_background"),
        ([feature("tissue_tumor", [1, 2], "Point")], "geometry Point; Polygon and MultiPolygon are known"),
        ([feature("tissue_tumor", [[[0, 0], [1, 1]]])], "a ring needs three points"),
        ([feature("tissue_tumor", [])], "a polygon without a ring"),
        ([{"geometry": {"type": "Polygon", "coordinates": [SQUARE]}, "properties": {}}], "is not GeoJSON"),
    ],
)
def test_puma_says_what_is_wrong_with_a_file(tmp_path: Path, features: list[dict[str, Any]], message: str) -> None:
    write_puma(tmp_path, "tissue", features)
    with pytest.raises(ValueError, match=message) as caught:
        samples(opened(tmp_path, "puma"))
    assert "training_set_primary_roi_001_tissue.geojson" in str(caught.value)
    with pytest.raises(FileNotFoundError, match=r"0 folders \*_geojson_nuclei in"):
        opened(tmp_path, "puma", "nuclei")


# --- BCSS -------------------------------------------------------------------------------------------------------------


def write_bcss(folder: Path, codes: NDArray[np.uint8]) -> None:
    name = "TCGA-A1-A0SK-DX1_xmin45749_ymin25055_MPP-0.2500.png"
    write_image(folder / "rgbs_colorNormalized" / name, np.zeros((*codes.shape, 3), np.uint8))
    write_image(folder / "masks" / name, codes)


def test_bcss_codes_become_classes_and_the_outside_is_not_annotated(tmp_path: Path) -> None:
    codes = np.arange(22, dtype=np.uint8)[None].repeat(3, axis=0)
    write_bcss(tmp_path, codes)
    fine = opened(tmp_path, "bcss")
    (sample,) = samples(fine)
    assert sample.labels[0].tolist() == [IGNORE, *range(1, 21), 0]
    assert [fine.classes[sample.labels[0, code]].name for code in range(1, 22)] == list(CODES[1:])
    assert (sample.group, fine.mpp) == ("TCGA-A1-A0SK", 0.25)
    coarse = opened(tmp_path, "bcss", "5class")
    labels = samples(coarse)[0].labels[0]
    named = {CODES[code]: coarse.classes[labels[code]].name for code in range(22) if labels[code] != IGNORE}
    assert {code for code, name in named.items() if name == "tumor"} == {"tumor", "angioinvasion", "dcis"}
    assert {code for code, name in named.items() if name == "inflammatory"} == set(np.array(CODES)[[3, 10, 11]])
    assert set(CODES) - set(named) == {"outside_roi", "exclude"}


def test_an_unknown_bcss_code_is_named(tmp_path: Path) -> None:
    write_bcss(tmp_path, half(1, 40))
    with pytest.raises(ValueError, match=r"MPP-0\.2500\.png holds values \[40\]; known: 0, 1, 2"):
        samples(opened(tmp_path, "bcss"))


# --- PanNuke ----------------------------------------------------------------------------------------------------------


def write_fold(folder: Path, number: int, objects: NDArray[np.float64], organs: list[str]) -> None:
    images, masks = (folder / f"Fold {number}" / kind / f"fold{number}" for kind in ("images", "masks"))
    for path in (images, masks):
        path.mkdir(parents=True)
    pixels = np.random.default_rng(number).integers(0, 256, (*objects.shape[:3], 3))
    np.save(images / "images.npy", pixels.astype(np.float64))
    np.save(images / "types.npy", np.array(organs))
    np.save(masks / "masks.npy", objects)


def pannuke_objects() -> NDArray[np.float64]:
    """Two patches of 6 x 6: object 3 of type 0 and object 3 of type 4, one pixel of both; nothing in the second."""
    objects = np.zeros((2, 6, 6, 6))
    objects[0, :3, :3, 0] = 3
    objects[0, 2:4, 2:4, 4] = 3
    objects[..., 5] = 1 - objects[..., :5].any(axis=-1)
    return objects


def test_pannuke_channels_become_types_objects_or_organs(tmp_path: Path) -> None:
    write_fold(tmp_path, 1, pannuke_objects(), ["Colon", "Bile-duct"])
    write_fold(tmp_path, 2, pannuke_objects(), ["Uterus", "Breast"])
    first, second, other, _ = samples(opened(tmp_path, "pannuke"))
    assert [s.name for s in (first, second, other)] == ["fold1_00000", "fold1_00001", "fold2_00000"]
    assert [s.group for s in (first, second, other)] == ["fold1", "fold1", "fold2"]
    expected = np.zeros((6, 6), np.uint8)
    expected[:3, :3] = 1
    expected[2:4, 2:4] = 5
    assert np.array_equal(first.labels, expected)
    assert first.instances is not None
    assert np.unique(first.instances).size == 3
    assert np.unique(first.instances[expected == 5]).size == 1
    assert not second.labels.any()
    pixels = np.load(tmp_path / "Fold 2" / "images" / "fold2" / "images.npy")
    assert np.array_equal(other.image, pixels[0])
    binary = samples(opened(tmp_path, "pannuke", "binary"))[0]
    assert np.array_equal(binary.labels, expected > 0)
    organ = samples(opened(tmp_path, "pannuke", "organ"))
    assert organ[0].labels.max() == 1 + ORGANS.index("Colon")
    assert organ[2].labels.max() == 1 + ORGANS.index("Uterus") == len(ORGANS) == 19


def test_pannuke_arrays_that_do_not_fit_are_named(tmp_path: Path) -> None:
    write_fold(tmp_path, 1, pannuke_objects(), ["Colon"])
    with pytest.raises(ValueError, match=r"fold1: types\.npy names 1 patches, images\.npy has 2"):
        opened(tmp_path, "pannuke")
    masks = tmp_path / "Fold 1" / "masks" / "fold1" / "masks.npy"
    np.save(masks, np.zeros((2, 6, 6, 5)))
    with pytest.raises(ValueError, match=r"masks \(2, 6, 6, 5\); \(N, H, W, 3\) and \(N, H, W, 6\) fit"):
        opened(tmp_path, "pannuke")
    masks.write_bytes(b"\x93NUMPY")
    with pytest.raises(ValueError, match=r"masks\.npy is not a NumPy array file"):
        opened(tmp_path, "pannuke")
    masks.unlink()
    with pytest.raises(FileNotFoundError, match=r"0 masks\.npy for fold1"):
        opened(tmp_path, "pannuke")


# --- Massachusetts ----------------------------------------------------------------------------------------------------


def test_massachusetts_buildings_are_red(tmp_path: Path) -> None:
    red = np.zeros((8, 8, 3), np.uint8)
    red[4:, :, 0] = 255
    for split in ("train", "test"):
        write_image(tmp_path / "tiff" / split / "22678915_15.tiff", np.zeros((8, 8, 3), np.uint8))
        write_image(tmp_path / "tiff" / f"{split}_labels" / "22678915_15.tif", red)
    (sample,) = samples(opened(tmp_path / "tiff" / "test", "massachusetts"))
    assert np.array_equal(sample.labels, half(0, 1))
    assert (sample.name, sample.group, sample.mpp) == ("22678915_15", "22678915_15", 1.0)
    write_image(tmp_path / "tiff" / "train_labels" / "22678915_15.tif", red[..., 0])
    assert np.array_equal(samples(opened(tmp_path / "tiff" / "train", "massachusetts"))[0].labels, sample.labels)
