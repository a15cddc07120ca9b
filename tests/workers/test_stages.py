"""The stages on a folder: plan, segment, finish, each cut short and run again."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from workers import stages
from workers.core.errors.base import JobCanceled, ModelInvalid, MppMissing
from workers.core.model.catalogue import find_model
from workers.core.model.schemas import ModelCard
from workers.core.schemas import JobRequest, Plan, Provenance
from workers.core.sizing.memory import PROCESS_BYTES, Plane, estimated_peak_bytes
from workers.core.slide_schemas import SlideGeometry, SlideInfo, SlideLevel
from workers.core.slides.readers.registry import open_slide
from workers.core.slides.slide import Pixels, Slide
from workers.core.slides.tolerant import TolerantSlide
from workers.masks import load_tissue
from workers.outputs.landed import Told
from workers.pipeline import stitch

CREATED = datetime(2026, 1, 2, 3, tzinfo=UTC)


@dataclass
class Bench:
    """A slide, a model and an empty folder."""

    slide: Slide
    info: SlideInfo
    card: ModelCard
    engine: Any
    out_dir: Path

    def plan(self, out_dir: Path | None = None, **asked: Any) -> Plan:
        request = JobRequest(slide_id="s", model=self.card.name, **{"region_px": 256, **asked})
        folder = out_dir or self.out_dir
        folder.mkdir(exist_ok=True)
        return stages.plan_job(self.slide, self.info, request, self.card, folder, "job")

    def segment(self, plan: Plan, out_dir: Path | None = None) -> NDArray[np.uint8]:
        """All regions; returns the labels of the whole plane."""
        folder = out_dir or self.out_dir
        for index in plan.regions:
            stages.segment_one(self.slide, plan, index, self.engine, folder)
        return np.asarray(stitch.open_labels(folder).labels[:, :])

    def finish(self, plan: Plan, check: Callable[[], None] = lambda: None) -> Provenance:
        timings = {"plan": 1.0, "segment": 2.0}
        return stages.finish_job(
            self.slide, self.info, plan, self.out_dir, created_at=CREATED, timings_s=timings, told=Told(check)
        )


def info_of(slide: Slide) -> SlideInfo:
    return SlideInfo(
        id="s", filename="made.tif", size_bytes=1, sha256="b" * 64, vendor=slide.vendor, backend=slide.backend,
        geometry=slide.geometry, created_at=CREATED,
    )  # fmt: skip


@pytest.fixture
def bench(
    made_slide: Callable[..., Path], stained: NDArray[np.uint8], model_folder: Path, colour: ModuleType, tmp_path: Path
) -> Iterator[Bench]:
    card = find_model(model_folder.parent, model_folder.name)
    with open_slide(made_slide(stained)) as slide:
        yield Bench(slide, info_of(slide), card, colour.ColourEngine(model_folder), tmp_path / "job")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- plan -------------------------------------------------------------------------------------------------------------


def test_a_plan_says_all_that_the_other_stages_need(bench: Bench) -> None:
    plan = bench.plan(seed=3)
    assert plan == Plan.model_validate_json((bench.out_dir / "plan.json").read_bytes())
    assert (plan.w_width, plan.w_height, plan.level, plan.seed) == (1300, 900, 0, 3)
    assert (plan.mpp_x, plan.mpp_y, plan.mpp_source, plan.model_mpp) == (0.5, 0.5, "metadata", 0.5)
    assert (plan.region_px, plan.tile_px, plan.halo_px, plan.stride_px) == (256, 256, 64, 16)
    assert (plan.slide_sha256, plan.model_digest) == ("b" * 64, bench.card.digest)
    # 6 x 4 cells of 256 px; the ellipse spans x 110..1010, y 90..750, so the last columns and row hold glass only
    assert set(plan.regions) < set(range(24))
    assert not set(plan.regions) & {4 + 1, 11, 17, 18 + 4, 18 + 5}
    assert {1, 2, 6, 7, 8, 9, 13, 14} < set(plan.regions)


def test_every_region_is_planned_where_tissue_is_not_asked_for(bench: Bench) -> None:
    assert bench.plan(tissue=False).regions == tuple(range(24))


def test_the_request_overrides_the_mpp_and_the_region_defaults_to_the_tile(bench: Bench) -> None:
    plan = bench.plan(mpp=0.25, region_px=None)
    sizes = plan.w_width, plan.w_height, plan.region_px
    assert (plan.mpp_x, plan.mpp_source, *sizes) == (0.25, "request", 650, 450, 256)


def test_a_slide_without_mpp_is_refused_and_leaves_nothing(
    made_slide: Callable[..., Path], stained: NDArray[np.uint8], bench: Bench
) -> None:
    with open_slide(made_slide(stained, "silent.tif", mpp=None)) as slide:
        bench.slide, bench.info = slide, info_of(slide)
        with pytest.raises(MppMissing):
            bench.plan()
    assert files(bench.out_dir) == {}


def test_the_same_plan_keeps_what_landed_and_another_does_not(bench: Bench) -> None:
    plan = bench.plan()
    stages.segment_one(bench.slide, plan, plan.regions[0], bench.engine, bench.out_dir)
    before = files(bench.out_dir)
    assert bench.plan() == plan
    assert files(bench.out_dir) == before
    other = bench.plan(seed=1)
    assert stitch.regions_present(bench.out_dir, other) == frozenset()


def test_a_plan_that_cannot_be_read_counts_as_none(bench: Bench) -> None:
    assert stages.read_plan(bench.out_dir) is None
    plan = bench.plan()
    (bench.out_dir / "plan.json").write_text('{"job_id": "of another version"}')
    assert stages.read_plan(bench.out_dir) is None
    assert bench.plan() == plan
    assert stages.read_plan(bench.out_dir) == plan


def test_the_memory_estimate_does_not_grow_with_the_slide(bench: Bench) -> None:
    def estimate(side: int, card: ModelCard = bench.card, region_px: int = 512) -> int:
        level = SlideLevel(width=side, height=side, downsample=1)
        geometry = SlideGeometry(l0_width=side, l0_height=side, levels=(level,))
        return estimated_peak_bytes(card, card.tile_px, region_px, "float32", Plane(geometry, *[(side, side)] * 2))

    assert estimate(200_000) == estimate(20_000) > estimate(1_000) > PROCESS_BYTES
    larger = bench.card.model_copy(update={"tile_px": 1024})
    assert estimate(20_000, larger) > estimate(20_000)
    assert estimate(20_000, larger, 2048) - estimate(20_000, larger, 1024) == 4 * (2048**2 - 1024**2)


# --- segment ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_labels_do_not_depend_on_the_size_of_the_regions(
    bench: Bench, tmp_path: Path, stained: NDArray[np.uint8], colour: ModuleType
) -> None:
    planes = []
    for region_px in (256, 512, 768, 2048):
        folder = tmp_path / f"regions-{region_px}"
        planes.append(bench.segment(bench.plan(folder, region_px=region_px), folder))
    for plane in planes[1:]:
        assert np.array_equal(plane, planes[0])
    tissue = planes[0] != 0
    assert tissue.any()
    assert np.array_equal(planes[0][tissue], colour.label_of(stained)[tissue])


def test_outside_the_tissue_there_is_nothing(bench: Bench) -> None:
    plan = bench.plan()
    labels = bench.segment(plan)
    tissue = load_tissue(bench.out_dir)
    l0_per_px = int(tissue.l0_per_px_x)
    assert tissue.l0_per_px_x == tissue.l0_per_px_y == l0_per_px
    wide = tissue.mask.repeat(l0_per_px, axis=0).repeat(l0_per_px, axis=1)[:900, :1300]
    confidence = np.asarray(stitch.open_labels(bench.out_dir).confidence[:, :])
    assert not labels[~wide].any()
    assert not confidence[~wide].any()
    assert confidence[wide].all()


def test_another_model_than_the_planned_one_is_refused(bench: Bench) -> None:
    plan = bench.plan()
    bench.engine.digest = "0" * 64
    with pytest.raises(ModelInvalid):
        stages.segment_one(bench.slide, plan, plan.regions[0], bench.engine, bench.out_dir)
    assert stitch.regions_present(bench.out_dir, plan) == frozenset()


def test_a_canceled_region_is_not_written(bench: Bench) -> None:
    plan = bench.plan()
    calls = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 2:  # the first is before the tile, the second before the chunk
            raise JobCanceled("no more")

    with pytest.raises(JobCanceled):
        stages.segment_one(bench.slide, plan, plan.regions[0], bench.engine, bench.out_dir, check)
    assert len(bench.engine.asked) == 1
    assert stitch.regions_present(bench.out_dir, plan) == frozenset()


# --- finish -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_job_keeps_the_colours_it_was_planned_with(
    bench: Bench, model_folder: Path, colour: ModuleType, tmp_path: Path
) -> None:
    """A new colour is not another model: what is under way goes on, and its outputs show what the plan says."""
    plan = bench.plan()
    bench.segment(plan)
    outputs = ("overlay.ome.tif", "regions.geojson.gz", "preview.png")
    before = {name: bench.finish(plan).files[name] for name in outputs}
    config = json.loads((model_folder / "config.json").read_text())
    config["classes"][1]["color"] = [1, 99, 250]
    (model_folder / "config.json").write_text(json.dumps(config))
    card = find_model(model_folder.parent, model_folder.name)
    assert (card.digest, card.classes[1].color) == (bench.card.digest, (1, 99, 250))
    bench.engine = colour.ColourEngine(model_folder)
    bench.segment(plan)
    assert {name: bench.finish(plan).files[name] for name in outputs} == before
    later = Bench(bench.slide, bench.info, card, bench.engine, tmp_path / "later")
    later.segment(fresh := later.plan())
    after = later.finish(fresh).files
    assert all(after[name] != before[name] for name in outputs)


@pytest.mark.slow
def test_the_result_names_every_file_with_its_digest(bench: Bench) -> None:
    plan = bench.plan()
    bench.segment(plan)
    bench.finish(plan)
    result = json.loads((bench.out_dir / "result.json").read_text())
    assert set(result["files"]) == {
        *stages.RESULTS, "plan.json", "tissue.png", "quality.png",
    }  # fmt: skip
    for name, digest in result["files"].items():
        assert hashlib.sha256((bench.out_dir / name).read_bytes()).hexdigest() == digest
        assert result["sizes_bytes"][name] == (bench.out_dir / name).stat().st_size
    assert result["timings_s"].keys() == {"plan", "segment", *stages.RESULTS}
    assert (result["timings_s"]["plan"], result["timings_s"]["segment"]) == (1.0, 2.0)
    assert (result["slide_filename"], result["slide_sha256"], result["regions"]) == (
        "made.tif", "b" * 64, len(plan.regions),
    )  # fmt: skip
    assert (result["model_digest"], result["seed"], result["halo_px"]) == (bench.card.digest, 0, 64)
    assert result["versions"]["numpy"] == np.__version__
    assert result["created_at"] == "2026-01-02T03:00:00Z"


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", range(1, 7))
def test_a_finish_that_is_cut_short_leaves_no_result_and_runs_again(bench: Bench, stop_at: int) -> None:
    plan = bench.plan()
    bench.segment(plan)
    calls = []

    def check() -> None:
        calls.append(1)
        if len(calls) == stop_at:
            raise JobCanceled("no more")

    with pytest.raises(JobCanceled):
        bench.finish(plan, check)
    there = {path.name for path in bench.out_dir.iterdir()} & {*stages.RESULTS, "result.json"}
    assert there == set(stages.RESULTS[: stop_at - 1])
    bench.finish(plan)
    assert (bench.out_dir / "result.json").exists()


@pytest.mark.slow
def test_finishing_twice_gives_the_same_outputs(bench: Bench) -> None:
    plan = bench.plan()
    bench.segment(plan)
    assert bench.finish(plan).files == bench.finish(plan).files


@pytest.mark.slow
def test_what_only_the_preview_could_not_read_is_listed_until_it_can_be_read(
    bench: Bench, made_slide: Callable[..., Path], stained: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = TolerantSlide._attempt

    def unless_first(slide: TolerantSlide, out: Pixels, level: int, lv_x: int, lv_y: int) -> bool:
        return not (lv_x < 256 and lv_y < 256) and attempt(slide, out, level, lv_x, lv_y)

    with TolerantSlide(made_slide(stained, "tolerant.tif")) as slide:
        bench.slide = slide
        plan = bench.plan(on_bad_tile="mask")
        bench.segment(plan)
        with monkeypatch.context() as patch:
            patch.setattr(TolerantSlide, "_attempt", unless_first)
            (bad,) = bench.finish(plan).bad_tiles
        assert (bad.level, bad.l0_x, bad.l0_y, bad.l0_width, bad.l0_height) == (0, 0, 0, 256, 256)
    with TolerantSlide(made_slide(stained, "tolerant.tif")) as slide:
        bench.slide = slide
        assert bench.finish(plan).bad_tiles == ()
