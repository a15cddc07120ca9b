"""Corrections as a dataset: crops as the model reads them, masks pixel by pixel as people said, usable for training."""

import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import shapely
from fiducials import Finished
from numpy.typing import NDArray
from PIL import Image

from models.training.datasets.inspection import inspect
from models.training.datasets.sample import DatasetConfig
from workers import product_tasks
from workers.core.corrections import log
from workers.core.corrections.schemas import Author, Drawing, ModelObject, Revision, StoredChange
from workers.core.corrections.standing import Standing, standing
from workers.core.errors.base import ProductRefused
from workers.core.products import read_made
from workers.core.roi.forms import Rings
from workers.core.roi.polygons import Polygon
from workers.core.schemas import Plan
from workers.core.slides.readers.registry import open_slide
from workers.core.slides.slide import Slide
from workers.outputs import training_folder
from workers.outputs.training_folder import CROP_PX, CROPS_PER_OBJECT, Judged, choose_cells, mask_of
from workers.pipeline import stitch
from workers.pipeline.plane import PlaneReader
from workers.pipeline.tiling import Box, WorkingPlane

NAME = "training.zip"


def ring(x0: float, y0: float, x1: float, y1: float) -> Rings:
    return (((x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)),)


def model_object(finished: Finished, mark: int, *, is_kept: bool = True) -> ModelObject:
    x0, y0, x1, y1 = finished.boxes[mark]
    outline = ring(x0, y0, x1, y1)
    return ModelObject(class_index=1, area_um2=1.0, box=(x0, y0, x1, y1), outline=outline if is_kept else None)


def drawing(x0: float, y0: float, x1: float, y1: float) -> Drawing:
    return Drawing(outline=ring(x0, y0, x1, y1), area_um2=1.0, box=(x0, y0, x1, y1))


def revision(number: int, *changes: StoredChange) -> Revision:
    return Revision(revision=number, at=datetime(2026, 1, 2, tzinfo=UTC), author=Author(name="anna"), changes=changes)


def corrections(finished: Finished) -> Revision:
    """The left mark is none, the middle one is right, the right one is smaller, and there is one beside it."""
    left, middle, right = (model_object(finished, mark) for mark in range(3))
    return revision(
        1,
        StoredChange(action="reject", object="left", model=left),
        StoredChange(action="accept", object="middle", model=middle),
        StoredChange(action="redraw", object="right", model=right, drawing=drawing(2010.5, 1250, 2040, 1280.5)),
        StoredChange(action="add", object="new", class_index=1, drawing=drawing(2044, 1250, 2074, 1270)),
    )


@pytest.fixture
def opened(plain: Finished) -> Callable[[Plan], Slide]:
    return lambda plan: open_slide(plain.store.slide_file(plan.slide_id))


def judged(finished: Finished, slide: Slide, objects: tuple[Standing, ...], plan: Plan | None = None) -> Judged:
    plan = plan or finished.plan
    reader = PlaneReader(slide, WorkingPlane.from_plan(plan), plan.level)
    return Judged(stitch.open_labels(finished.folder), plan, reader, objects, 1)


def covered(outline: Rings, box: Box, plane: WorkingPlane) -> NDArray[np.bool_]:
    """Which pixels of a box have their centre in an outline: asked of shapely, one by one."""
    rows, columns = np.mgrid[box.w_y : box.w_y + box.height, box.w_x : box.w_x + box.width] + 0.5
    points = shapely.points(columns * float(plane.scale_x), rows * float(plane.scale_y))
    return np.asarray(shapely.contains_properly(shapely.Polygon(outline[0]), points))


@pytest.mark.parametrize("name", ["left", "right"])
def test_a_mask_says_what_people_said(plain: Finished, opened: Callable[[Plan], Slide], name: str) -> None:
    objects = tuple(standing((corrections(plain),)).values())
    with opened(plain.plan) as slide:
        source = judged(plain, slide, objects)
        plane = source.reader.plane
        mark = plain.boxes[0 if name == "left" else 2]
        box = Box(int(mark[0] // 2 // CROP_PX * CROP_PX), int(mark[1] // 2 // CROP_PX * CROP_PX), CROP_PX, CROP_PX)
        mask = mask_of(box, source)
        labels = source.arrays.labels[box.w_y : box.w_y + CROP_PX, box.w_x : box.w_x + CROP_PX]
    assert labels.any()
    wanted = np.where(labels > 0, 255, 0).astype(np.uint8)
    for each in objects:
        if each.model is not None and each.state in ("rejected", "redrawn") and each.model.outline is not None:
            wanted[covered(each.model.outline, box, plane)] = 0
    for each in objects:
        if each.state != "rejected" and each.outline is not None:
            wanted[covered(each.outline, box, plane)] = 1
    np.testing.assert_array_equal(mask, wanted)
    assert 255 not in mask  # all of this crop was judged
    assert (1 in mask) == (name == "right")


def test_what_nobody_judged_and_what_lies_outside_is_not_known(
    plain: Finished, opened: Callable[[Plan], Slide]
) -> None:
    x0, y0, x1, y1 = plain.boxes[2]
    box = Box(x0 // 2 // CROP_PX * CROP_PX, y0 // 2 // CROP_PX * CROP_PX, CROP_PX, CROP_PX)
    large = Standing(
        "right", 1, False, model_object(plain, 2, is_kept=False), None, 1, Author(name="a"), datetime.now(UTC)
    )
    roi = Polygon(coordinates=ring(2 * box.w_x, 2 * box.w_y, 2 * box.w_x + 2 * CROP_PX, 2 * box.w_y + 100))
    with opened(plain.plan) as slide:
        mask = mask_of(box, judged(plain, slide, ()))
        assert mask_of(box, judged(plain, slide, (large,))).tolist() == mask.tolist()  # its outline is not kept
        within = mask_of(box, judged(plain, slide, (), plain.plan.model_copy(update={"roi": roi})))
    spot = np.s_[y0 // 2 - box.w_y : y1 // 2 - box.w_y, x0 // 2 - box.w_x : x1 // 2 - box.w_x]
    assert (mask[spot] == 255).all()
    assert (mask == 255).sum() == mask[spot].size
    assert (within[50:] == 255).all()
    assert (within[:50] == mask[:50]).all()


def test_the_product_is_a_dataset_that_training_takes(
    plain: Finished, opened: Callable[[Plan], Slide], tmp_path: Path
) -> None:
    with pytest.raises(ProductRefused, match="Nobody"):
        product_tasks.make(plain.store, plain.job_id, NAME, open_slide=opened)
    try:
        log.append(plain.folder, 0, lambda _known: corrections(plain))
        made = product_tasks.make(plain.store, plain.job_id, NAME, open_slide=opened)
        again = product_tasks.make(plain.store, plain.job_id, NAME, open_slide=opened)
        assert (made.revision, made.sha256) == (1, again.sha256)
        path = plain.folder / "products" / NAME
        with zipfile.ZipFile(path) as archive:
            archive.extractall(tmp_path / "set")
        plain.store.write_json(path.with_name(f"{NAME}.json"), made)
        assert read_made(plain.store, plain.job_id, NAME) == made
        log.append(plain.folder, 1, lambda _known: revision(2))
        assert read_made(plain.store, plain.job_id, NAME) is None  # it is of an earlier revision
    finally:
        for left in (
            plain.folder / log.FILE,
            plain.folder / "products" / NAME,
            plain.folder / "products" / f"{NAME}.json",
        ):
            left.unlink(missing_ok=True)
    report = inspect(tmp_path / "set", DatasetConfig(root="set", split="all"))
    assert report.problems == ()
    assert (report.images, report.groups, report.mpp) == (len(list((tmp_path / "set" / "masks").iterdir())), 1, 0.5)
    assert [each.name for each in report.classes] == ["background", "nucleus"]
    with opened(plain.plan) as slide:
        reader = PlaneReader(slide, WorkingPlane.from_plan(plain.plan), plain.plan.level)
        for image in (tmp_path / "set" / "images").iterdir():
            _, x, y = image.stem.split("_")
            pixels = np.asarray(Image.open(image))
            np.testing.assert_array_equal(pixels, reader.read(int(x), int(y), *pixels.shape[1::-1]))


def test_crops_are_bounded_and_lie_in_the_plane(plain: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    plane = WorkingPlane.from_plan(plain.plan)
    all_of_it = drawing(0, 0, plane.l0_width, plane.l0_height)
    objects = [
        Standing(str(at), 1, False, None, each, 1, Author(name="a"), datetime.now(UTC))
        for at, each in enumerate([all_of_it, drawing(0, 0, 10, 10), drawing(2300, 1530, 2304, 1536)])
    ]
    cells, left_out = choose_cells(objects, plane)
    assert len(set(cells)) == len(cells) <= CROPS_PER_OBJECT + 2
    assert left_out == 0
    assert (0, 0) in cells
    assert (plane.w_width - CROP_PX, plane.w_height - CROP_PX) in cells
    assert all(0 <= x <= plane.w_width - CROP_PX and 0 <= y <= plane.w_height - CROP_PX for x, y in cells)
    monkeypatch.setattr(training_folder, "CROPS_MAX", 1)
    best, left_out = choose_cells(objects, plane)
    assert (best, left_out) == ([(0, 0)], len(cells) - 1)  # two objects lie there
