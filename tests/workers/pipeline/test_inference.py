"""Regions through a model that is a pure function of a pixel's colour: what comes out is known without any network."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_models import write_model_config
from scipy.ndimage import maximum_filter

from workers.core.errors.base import ModelInvalid, SlideUnreadable
from workers.core.errors.jobs import OutOfMemory
from workers.core.model.schemas import ModelClass, ObjectRules
from workers.core.schemas import Plan
from workers.core.slides.readers.registry import open_slide
from workers.core.slides.slide import Pixels
from workers.pipeline.inference import DeviceLost, Engine, cpu_threads, read_ahead, segment_regions
from workers.pipeline.plane import PlaneReader
from workers.pipeline.tiling import Region, WorkingPlane, regions
from workers.pipeline.tissue import TissueMask

DEADLINE_S = 20


def plan_of(reader: PlaneReader, region_px: int = 512, tile_px: int = 256, halo_px: int = 16) -> Plan:
    geometry = reader.slide.geometry
    plane = reader.plane
    return Plan(
        job_id="j", slide_id="s", slide_sha256="0" * 64, model="m", model_digest="0" * 64, geometry=geometry,
        mpp_x=0.5, mpp_y=0.5, mpp_source="metadata", model_mpp=0.5, level=0, w_width=plane.w_width,
        w_height=plane.w_height, region_px=region_px, tile_px=tile_px, halo_px=halo_px, stride_px=16, seed=7,
        regions=tuple(region.index for region in regions(plane, region_px)), tissue=False,
        classes=(ModelClass(index=0, name="background", color=(0, 0, 0)),), estimated_peak_bytes=0,
    )  # fmt: skip


@pytest.fixture
def pixels() -> Pixels:
    return np.random.default_rng(1).integers(0, 256, (700, 1100, 3), dtype=np.uint8)


@pytest.fixture
def reader(made_slide: Callable[..., Path], pixels: Pixels) -> Iterator[PlaneReader]:
    with open_slide(made_slide(pixels)) as slide:
        plane = WorkingPlane.from_geometry(slide.geometry, 0.5, None)
        yield PlaneReader(slide, plane, 0)


@pytest.fixture
def engine(colour: Any, model_folder: Path) -> Any:
    return colour.ColourEngine(model_folder)


def whole(reader: PlaneReader, plan: Plan, engine: Any, tissue: TissueMask) -> tuple[Pixels, Pixels]:
    """All regions of a plan laid into one plane."""
    labels, confidence = np.full((2, plan.w_height, plan.w_width), 99, np.uint8)
    for done in segment_regions(reader, regions(reader.plane, plan.region_px), engine, plan, tissue):
        area = slice(done.region.w_y0, done.region.w_y1), slice(done.region.w_x0, done.region.w_x1)
        labels[area], confidence[area] = done.labels, done.confidence
    return labels, confidence


@pytest.mark.parametrize(("region_px", "tile_px"), [(512, 256), (256, 512), (768, 512), (2048, 256), (1024, 1024)])
def test_every_pixel_gets_its_own_answer_whatever_the_grid(
    reader: PlaneReader, pixels: Pixels, engine: Any, colour: Any, region_px: int, tile_px: int
) -> None:
    plan = plan_of(reader, region_px, tile_px)
    labels, confidence = whole(reader, plan, engine, TissueMask.everywhere(reader.slide.geometry))
    assert np.array_equal(labels, colour.label_of(pixels))
    assert np.array_equal(confidence, colour.confidence_of(pixels))


def test_an_interior_map_comes_along_where_the_plan_has_one(
    reader: PlaneReader, pixels: Pixels, colour: Any, tmp_path: Path
) -> None:
    write_model_config(tmp_path / "split" / "made-model", interior_um=2)
    engine = colour.ColourEngine(tmp_path / "split" / "made-model")
    plan = plan_of(reader).model_copy(update={"objects": ObjectRules(interior=True)})
    everywhere = TissueMask.everywhere(reader.slide.geometry)
    for done in segment_regions(reader, regions(reader.plane, plan.region_px), engine, plan, everywhere):
        core = pixels[done.region.w_y0 : done.region.w_y1, done.region.w_x0 : done.region.w_x1]
        assert done.interior is not None
        assert np.array_equal(done.interior, colour.interior_of(core))
        assert np.array_equal(done.confidence, colour.confidence_of(core))
    with pytest.raises(ValueError, match="zip"):  # the model and the plan disagree
        list(segment_regions(reader, regions(reader.plane, 512), engine, plan_of(reader), everywhere))


def test_the_model_is_asked_on_its_grid_with_halo_and_seed(reader: PlaneReader, engine: Any) -> None:
    whole(reader, plan_of(reader), engine, TissueMask.everywhere(reader.slide.geometry))
    first_shape, first_origin, seed = engine.asked[0]
    assert (first_shape, first_origin, seed) == ((1, 288, 288, 3), [(-16, -16)], 7)
    last_shape, last_origin, _ = engine.asked[-1]
    assert (last_shape, last_origin) == ((1, 224, 112, 3), [(1008, 496)])  # 188 x 76 px up to the stride, and the halo
    assert len(engine.asked) == 3 * 5


def test_outside_the_tissue_all_is_background_and_nothing_is_asked(
    reader: PlaneReader, pixels: Pixels, engine: Any, colour: Any
) -> None:
    mask = np.zeros((7, 11), np.bool_)
    mask[1, 2:4] = True  # 100 px a side: x 200..400, y 100..200
    tissue = TissueMask(mask, np.zeros_like(mask), Fraction(100), Fraction(100))
    labels, confidence = whole(reader, plan_of(reader), engine, tissue)
    inside = np.zeros((700, 1100), np.bool_)
    inside[100:200, 200:400] = True
    assert np.array_equal(labels, np.where(inside, colour.label_of(pixels), 0))
    assert np.array_equal(confidence, np.where(inside, colour.confidence_of(pixels), 0))
    assert [origin for _, origin, _ in engine.asked] == [[(176, 48)], [(240, 48)]]  # from 64 px to 64 px around it
    assert [shape for shape, _, _ in engine.asked] == [(1, 224, 96, 3), (1, 224, 224, 3)]


class Neighbours:
    """A model that sees as far as its halo: a pixel's label hangs on all pixels within 16 px."""

    digest = "0" * 64

    def predict(self, images: Pixels, *_: object) -> tuple[Pixels, ...]:
        labels = np.stack([self.of(image) for image in images])
        return labels, 255 - labels

    @staticmethod
    def of(image: Pixels) -> Pixels:
        total = image.astype(np.uint32).sum(axis=2)
        largest: Pixels = (maximum_filter(total, 33, mode="constant") % 251).astype(np.uint8)
        return largest


def test_boxes_around_tissue_give_the_labels_of_the_whole_plane(reader: PlaneReader, pixels: Pixels) -> None:
    mask = np.random.default_rng(3).random((35, 55)) < 0.1  # islands of 20 px
    tissue = TissueMask(mask, np.zeros_like(mask), Fraction(20), Fraction(20))
    labels, confidence = whole(reader, plan_of(reader), Neighbours(), tissue)
    inside = np.kron(mask, np.ones((20, 20), np.bool_))
    near_edge = np.ones_like(inside)
    near_edge[16:-16, 16:-16] = False  # what lies beyond the slide's edge is white, and not of `pixels`
    expected = Neighbours.of(pixels)
    compared = inside & ~near_edge
    assert compared.sum() > 20_000
    assert np.array_equal(labels[compared], expected[compared])
    assert np.array_equal(confidence[compared], 255 - expected[compared])
    assert not labels[~inside].any()


def test_a_tile_counts_by_what_was_computed_of_it(reader: PlaneReader, engine: Any) -> None:
    mask = np.zeros((7, 11), np.bool_)
    mask[1, 2:4] = True
    tissue = TissueMask(mask, np.zeros_like(mask), Fraction(100), Fraction(100))
    plan = plan_of(reader)
    done = list(segment_regions(reader, regions(reader.plane, plan.region_px), engine, plan, tissue))
    assert sum(one.tiles for one in done) == pytest.approx((224 * 96 + 224 * 224) / 288**2)


def test_a_check_that_raises_stops_before_the_next_tile(reader: PlaneReader, engine: Any) -> None:
    class Unwanted(Exception):
        pass

    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise Unwanted

    threads = threading.active_count()
    tissue = TissueMask.everywhere(reader.slide.geometry)
    results = segment_regions(reader, regions(reader.plane, 512), engine, plan_of(reader), tissue, check)
    with closing(results), pytest.raises(Unwanted):
        list(results)
    assert len(engine.asked) == 2
    assert threading.active_count() == threads


def test_a_tile_that_cannot_be_read_says_so(reader: PlaneReader, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: int) -> Pixels:
        raise SlideUnreadable("A tile cannot be decoded.")

    monkeypatch.setattr(reader.slide, "read_level", broken)
    with pytest.raises(SlideUnreadable):
        whole(reader, plan_of(reader), engine, TissueMask.everywhere(reader.slide.geometry))


def test_reading_is_ahead_of_the_consumer() -> None:
    begun = [threading.Event() for _ in range(6)]

    def read(index: int) -> int:
        begun[index].set()
        return index * 10

    with closing(read_ahead(read, range(6))) as results:
        assert next(results) == (0, 0)
        assert begun[1].wait(DEADLINE_S)  # nobody asked for it yet
        assert not begun[5].is_set()
        assert list(results) == [(1, 10), (2, 20), (3, 30), (4, 40), (5, 50)]


def test_an_abandoned_read_ahead_ends_its_thread() -> None:
    threads = threading.active_count()
    with closing(read_ahead(lambda index: index, iter(range(100)))) as results:
        next(results)
    assert threading.active_count() == threads


def test_threads_are_the_cores_shared_by_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert [cpu_threads(0, workers) for workers in (0, 1, 2, 3, 20)] == [8, 8, 4, 2, 1]
    assert cpu_threads(5, 2) == 5


def test_a_real_model_answers_for_a_region(reader: PlaneReader, random_model: Path) -> None:
    engine = Engine(random_model, "cpu", 1)
    plan = plan_of(reader, region_px=256, tile_px=256)
    core = Region(0, 0, 0, 0, 0, 256, 256)
    tissue = TissueMask.everywhere(reader.slide.geometry)
    (done,) = segment_regions(reader, [core], engine, plan, tissue)
    labels, confidence = done.labels, done.confidence
    assert done.region == core
    assert labels.shape == confidence.shape == (256, 256)
    assert confidence.min() > 0
    assert len(engine.digest) == 64


def test_a_broken_model_folder_is_refused(random_model: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((random_model / "config.json").read_bytes())
    with pytest.raises(ModelInvalid) as refusal:
        Engine(tmp_path, "cpu", 1)
    assert refusal.value.value == tmp_path.name


def test_every_tile_is_computed_in_the_precision_of_the_plan(reader: PlaneReader, engine: Any) -> None:
    plan = plan_of(reader).model_copy(update={"precision": "bfloat16"})
    asked: list[str] = []
    answer = engine.predict

    def predict(*arguments: Any) -> Any:
        asked.append(arguments[3])
        return answer(*arguments)

    engine.predict = predict
    whole(reader, plan, engine, TissueMask.everywhere(reader.slide.geometry))
    assert set(asked) == {"bfloat16"}


def test_an_accelerator_without_memory_is_named(random_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    engine = Engine(random_model, "cpu", 1)
    monkeypatch.setattr(engine._predictor, "predict", full)
    with pytest.raises(OutOfMemory, match="region_px"):
        engine.predict(np.zeros((1, 64, 64, 3), np.uint8), [(0, 0)], 0, "float32")


@pytest.mark.parametrize("alive", [True, False])
def test_a_fault_of_torch_is_the_devices_if_that_computes_no_more(
    random_model: Path, monkeypatch: pytest.MonkeyPatch, alive: bool
) -> None:
    def faulty(*_: object) -> None:
        raise RuntimeError("CUDA error: unspecified launch failure")

    engine = Engine(random_model, "cpu", 1)
    monkeypatch.setattr(engine._predictor, "predict", faulty)
    monkeypatch.setattr("models.predictor.answers", lambda _device: alive)
    with pytest.raises(RuntimeError if alive else DeviceLost, match="launch failure"):
        engine.predict(np.zeros((1, 64, 64, 3), np.uint8), [(0, 0)], 0, "float32")
