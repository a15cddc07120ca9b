"""What a job is said to take before it runs, and what it takes then."""

import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from scipy import ndimage

from models.objects import BATCH_PX
from workers import stages
from workers.core.label_layout import OBJECTS, STORE
from workers.core.model.catalogue import find_model
from workers.core.model.schemas import ModelCard, ObjectRules
from workers.core.schemas import OUTPUTS, Plan
from workers.core.sizing import memory, preflight
from workers.pipeline import objects, stitch
from workers.pipeline.tiling import WorkingPlane, regions
from workers.segment import main as segment

FIXED = ("preview.png", "statistics.json")
"""Outputs that do not grow with the slide."""


@pytest.fixture
def card(model_folder: Path) -> ModelCard:
    return find_model(model_folder.parent, model_folder.name)


def splits(card: ModelCard) -> ModelCard:
    return card.model_copy(update={"objects": ObjectRules(interior=True)})


def test_what_tells_objects_apart_is_part_of_the_disk(card: ModelCard) -> None:
    w_px = 10**6
    bare = preflight.estimated_disk_bytes(card, (), w_px) - preflight.DISK_BYTES
    assert bare == preflight.DISK_BYTES_PER_PX * w_px
    planes = preflight.estimated_disk_bytes(splits(card), (), w_px) - preflight.DISK_BYTES - bare
    assert planes == pytest.approx(
        w_px * (preflight.INTERIOR_BYTES_PER_PX + preflight.OBJECTS_PLANE_BYTES_PER_PX), abs=1
    )
    for name in OUTPUTS:
        more = preflight.estimated_disk_bytes(card, (name,), w_px) - preflight.DISK_BYTES - bare
        assert (more > 0) == (name not in FIXED), name


def test_telling_objects_apart_takes_no_more_memory_than_is_estimated(
    make_plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = 400
    shrunk = (side / objects.SIDE_PX) ** 2
    monkeypatch.setattr(objects, "SIDE_PX", side)
    monkeypatch.setattr("models.objects.BATCH_PX", int(BATCH_PX * shrunk))
    monkeypatch.setattr("models.objects.SHELF_PX", side // 4)
    rules = ObjectRules(prominence=0.2, smooth_um=0.5, interior=True)
    plan = make_plan(2 * side + 2, 2 * side + 2).model_copy(update={"objects": rules})
    field = ndimage.gaussian_filter(np.random.default_rng(0).random((plan.w_height, plan.w_width)), 4)
    labels = np.zeros(field.shape, np.uint8)
    labels[2 : side - 10, 2 : side - 10] = 1  # two components of one cell, whose common box is all of the window
    labels[side - 5 : -8, side - 5 : -8] = 1
    interior = np.clip((field - field.min()) / np.ptp(field) * 255, 0, 255).astype(np.uint8)
    stitch.create_label_array(tmp_path, plan)
    for region in regions(WorkingPlane.from_plan(plan), plan.region_px):
        core = slice(region.w_y0, region.w_y1), slice(region.w_x0, region.w_x1)
        stitch.write_region(tmp_path, plan, region, labels[core], labels[core], interior[core])
    objects.make_objects(tmp_path, plan, lambda: None)  # what is loaded only once does not count
    shutil.rmtree(tmp_path / STORE / OBJECTS)
    tracemalloc.start()
    try:
        objects.make_objects(tmp_path, plan, lambda: None)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    estimated = sum(memory.OBJECTS_BYTES_PER_PX) * (2 * side + 2) ** 2
    assert estimated * 2 / 3 < peak_bytes < estimated * 4 / 3, peak_bytes / (2 * side + 2) ** 2


def test_the_window_that_is_estimated_is_the_one_that_is_looked_at(card: ModelCard) -> None:
    assert memory.OBJECTS_SIDE_PX == 2 * objects.SIDE_PX + 2


@pytest.mark.slow
def test_a_job_on_dense_tissue_leaves_no_more_than_was_estimated(
    shared_data: Path, repo_root: Path, tmp_path: Path
) -> None:
    image = shared_data / "monuseg_external" / "images" / "TCGA-21-5784-01Z-00-DX1.jpg"
    if not image.is_file():
        pytest.skip(f"{image} is absent")
    with Image.open(image) as opened:
        opened.convert("RGB").resize((500, 500)).save(tmp_path / "dense.png")
    model = repo_root / "models" / "zoo" / "nuclei-fast"
    out = tmp_path / "out"
    asked = [tmp_path / "dense.png", "-o", out, "--model", model, "--mpp", 0.5, "--no-tissue"]
    done = CliRunner().invoke(segment, [str(each) for each in asked])
    assert done.exit_code == 0, done.output
    plan = stages.read_plan(out)
    assert plan is not None
    w_px = plan.w_width * plan.w_height
    card = find_model(model.parent, model.name)
    estimated = preflight.estimated_disk_bytes(card, OUTPUTS, w_px)
    sizes = {path.relative_to(out): path.stat().st_size for path in out.rglob("*") if path.is_file()}
    assert sum(sizes.values()) < estimated
    growing = {
        path: size for path, size in sizes.items() if path.parts[0] in (STORE, *OUTPUTS) and path.name not in FIXED
    }
    assert 0.75 < sum(growing.values()) / (estimated - preflight.DISK_BYTES) < 1
