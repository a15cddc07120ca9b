"""The plane of objects against the whole plane in memory: the same parts, whatever the cells and chunks."""

from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from models.config import ObjectConfig
from models.objects import split_objects
from workers.core.errors.base import JobCanceled
from workers.core.model.schemas import ObjectRules
from workers.core.schemas import Plan
from workers.pipeline import objects, stitch
from workers.pipeline.tiling import WorkingPlane, regions

UInt8 = NDArray[np.uint8]
MakePlan = Callable[..., Plan]
RULES = ObjectRules(prominence=0.3, smooth_um=0.5, interior=True)


def planes(height: int, width: int, seed: int, classes: int = 2) -> tuple[UInt8, UInt8]:
    """Return labels whose components are a few px to the whole plane wide, and an interior map full of ties."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.random((height, width)), 1.2)
    labels = np.where(field > np.quantile(field, rng.uniform(0.3, 0.7)), rng.integers(1, classes + 1), 0)
    labels[:, width // 2 :] *= rng.integers(1, 3)
    smooth = ndimage.gaussian_filter(rng.random((height, width)), 1)
    interior = np.round((smooth - smooth.min()) / max(np.ptp(smooth), 1e-9) * 5) / 5 * 255
    return labels.astype(np.uint8), interior.astype(np.uint8)


def write_planes(folder: Path, plan: Plan, labels: UInt8, interior: UInt8) -> None:
    """Write them as a job does: a region without tissue, here without a label, has no chunk."""
    folder.mkdir(parents=True)
    stitch.create_label_array(folder, plan)
    for region in regions(WorkingPlane.from_plan(plan), plan.region_px):
        core = slice(region.w_y0, region.w_y1), slice(region.w_x0, region.w_x1)
        if not labels[core].any():
            continue
        stitch.write_region(folder, plan, region, labels[core], labels[core] * np.uint8(50), interior[core])


def objects_of(folder: Path, plan: Plan, labels: UInt8, interior: UInt8) -> NDArray[np.uint32]:
    write_planes(folder, plan, labels, interior)
    objects.make_objects(folder, plan, lambda: None)
    made = stitch.open_labels(folder).objects
    assert made is not None
    return np.asarray(made[:, :])


def parts(numbers: NDArray[np.integer]) -> NDArray[np.int64]:
    """Number the 4-connected sets of equal numbers by their first pixel: what a plane says of its objects."""
    found = np.zeros(numbers.shape, np.int64)
    for number in np.unique(numbers[numbers > 0]):
        pieces, _ = ndimage.label(numbers == number)
        found[pieces > 0] = pieces[pieces > 0] + found.max()
    used, first = np.unique(found, return_index=True)
    order = np.zeros(found.max() + 1, np.int64)
    order[used[used > 0][np.argsort(first[used > 0])]] = np.arange(1, (used > 0).sum() + 1)
    return np.asarray(order[found])


def literal(labels: UInt8, interior: UInt8, side: int) -> NDArray[np.int64]:
    """Split the whole plane in memory, component by component, by the words of the rule."""
    config = ObjectConfig(prominence=RULES.prominence, smooth_um=RULES.smooth_um)
    found = np.zeros(labels.shape, np.int64)
    for value in np.unique(labels[labels > 0]):
        pieces, _ = ndimage.label(labels == value)
        for piece, box in enumerate(ndimage.find_objects(pieces), 1):
            inside = pieces == piece
            if max(part.stop - part.start for part in box) <= side:
                cells = [box]
            else:
                steps = [range(0, length, side) for length in labels.shape]
                cells = [(slice(y, y + side), slice(x, x + side)) for y in steps[0] for x in steps[1]]
            for cell in cells:
                numbers = split_objects(inside[cell], interior[cell], 0.5, config)
                found[cell][inside[cell]] = numbers[inside[cell]] + found.max()
    return parts(found)


@pytest.mark.slow
@given(height=st.integers(1, 70), width=st.integers(1, 70), seed=st.integers(0, 999), side=st.sampled_from([7, 16, 33]))
def test_objects_are_those_of_the_whole_plane_in_memory(
    make_plan: MakePlan, tmp_path_factory: pytest.TempPathFactory, height: int, width: int, seed: int, side: int
) -> None:
    labels, interior = planes(height, width, seed)
    labels[: seed % 40, : seed % 60] = 0  # regions that are not there
    plan = make_plan(width, height, 32, objects=RULES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objects, "SIDE_PX", side)
        patch.setattr("os.sync", lambda: None)  # slow where others write
        patch.setattr("os.fsync", lambda handle: None)
        made = objects_of(tmp_path_factory.mktemp("objects") / "job", plan, labels, interior)
    np.testing.assert_array_equal(made & 255, labels)
    np.testing.assert_array_equal(parts(made), literal(labels, interior, side))


def test_an_object_need_not_have_a_pixel_where_its_box_begins(
    make_plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An angle around a cell of which no region is there: it is whole, and not cut on the lines of the grid."""
    monkeypatch.setattr(objects, "SIDE_PX", 16)
    labels = np.zeros((40, 40), np.uint8)
    labels[10:19, 18] = labels[18, 10:19] = 1
    made = objects_of(tmp_path / "job", make_plan(40, 40, 8, objects=RULES), labels, labels * np.uint8(200))
    np.testing.assert_array_equal(parts(made), labels)


def test_what_has_no_regions_is_not_read(make_plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "SIDE_PX", 16)
    labels = np.zeros((160, 160), np.uint8)
    labels[70:75, 70:75] = 1
    looked = Mock(wraps=objects._classes)
    monkeypatch.setattr(objects, "_classes", looked)
    made = objects_of(tmp_path / "job", make_plan(160, 160, 16, objects=RULES), labels, labels * np.uint8(200))
    np.testing.assert_array_equal(made & 255, labels)
    assert looked.call_count == 5  # of 200: the windows that hold it, and one cell


def test_the_size_of_regions_changes_nothing(make_plan: MakePlan, tmp_path: Path) -> None:
    labels, interior = planes(300, 420, 3)
    made = [
        objects_of(tmp_path / str(px), make_plan(420, 300, px, objects=RULES), labels, interior) for px in (64, 256)
    ]
    np.testing.assert_array_equal(made[0], made[1])
    assert parts(made[0]).max() > ndimage.label(labels)[1]


def test_it_is_complete_or_absent(make_plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "SIDE_PX", 64)
    labels, interior = planes(100, 150, 4)
    plan, folder = make_plan(150, 100, 64, objects=RULES), tmp_path / "job"
    write_planes(folder, plan, labels, interior)
    asked = []

    def check() -> None:
        asked.append(1)
        if len(asked) == 8:
            raise JobCanceled("It was canceled.")

    with pytest.raises(JobCanceled):
        objects.make_objects(folder, plan, check)
    assert stitch.open_labels(folder).objects is None
    objects.make_objects(folder, plan, lambda: None)
    assert sorted(path.name for path in (folder / "labels.zarr").iterdir()) == [
        "confidence", "interior", "labels", "objects", "zarr.json",
    ]  # fmt: skip
    first = np.asarray(stitch.open_labels(folder).objects[:, :])  # type: ignore[index]
    np.testing.assert_array_equal(parts(first), literal(labels, interior, 64))
    objects.make_objects(folder, plan, lambda: pytest.fail("it is there"))
