"""What a job makes of a spoiled slide: warnings, the layer, and statistics without what is spoiled."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from workers import segment, stages
from workers.core.model.catalogue import find_model
from workers.core.quality_schemas import QUALITY_NAMES
from workers.core.schemas import JobRequest, Plan, Provenance
from workers.core.slide_schemas import Modality
from workers.core.slides.readers.registry import open_slide
from workers.outputs.statistics import Statistics, read_statistics

Job = Callable[..., tuple[Plan, Provenance, Statistics]]


@pytest.fixture
def inked(stained: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The slide of the pipeline's tests with a stroke of blue ink from one side to the other."""
    y, x = np.indices(stained.shape[:2])
    stroke = np.abs(y - 300 - x / 4) < 60
    pixels = stained.copy()
    pixels[stroke] = (stained[stroke] * (np.array((20, 60, 170)) / 243)).astype(np.uint8)
    return pixels


@pytest.fixture
def job(
    made_slide: Callable[..., Path], inked: NDArray[np.uint8], model_folder: Path, colour: ModuleType, tmp_path: Path
) -> Job:
    """Return a function that segments the inked slide, as it is asked."""
    path = made_slide(inked)
    card = find_model(model_folder.parent, model_folder.name)

    def run(modality: str = "brightfield_he", **asked: Any) -> tuple[Plan, Provenance, Statistics]:
        request = JobRequest(slide_id="local", model=card.name, region_px=256, **asked)
        out_dir = tmp_path / f"job-{len(list(tmp_path.glob('job-*')))}"
        out_dir.mkdir()
        with open_slide(path) as slide:
            info = segment.describe(path, slide).model_copy(
                update={"modality": Modality.model_validate({"name": modality})}
            )
            record = segment.segment(
                segment.Run(slide, info, card, request, out_dir), lambda: colour.ColourEngine(model_folder)
            )
        plan = stages.read_plan(out_dir)
        assert plan is not None
        return plan, record, read_statistics(out_dir)

    return run


def codes(record: Provenance) -> list[str]:
    return [each.code for each in record.warnings]


@pytest.mark.slow
def test_ink_is_warned_of_and_measured_in_every_job(job: Job) -> None:
    plan, record, statistics = job()
    assert "ink_present" in codes(record)
    (warning,) = (each for each in record.warnings if each.code == "ink_present")
    y, x = np.indices((900, 1300))
    stroke = np.abs(y - 300 - x / 4) < 60
    told = np.zeros_like(stroke)
    for x0, y0, x1, y1 in warning.places:
        assert stroke[y0:y1, x0:x1].any()
        told[y0:y1, x0:x1] = True
    assert warning.places_count == len(warning.places) > 0
    assert told.mean() < 0.5
    assert plan.quality is not None
    assert warning.value == f"{plan.quality.share('ink'):.1%} of the tissue"
    assert 0.05 < plan.quality.share("ink") < 0.3
    assert record.quality == plan.quality
    assert "quality.png" in record.files
    assert "quality.geojson.gz" not in record.files
    assert (record.excluded_mm2, statistics.excluded_mm2) == (None, None)


@pytest.mark.slow
def test_the_layer_shows_it_and_the_statistics_leave_it_out_if_asked(job: Job, tmp_path: Path) -> None:
    _, _, whole = job()
    plan, record, part = job(quality=True, exclude_quality=True)
    assert (plan.exclude_quality, record.exclude_quality) == (QUALITY_NAMES, QUALITY_NAMES)
    assert part.excluded_mm2 is not None
    assert part.excluded_mm2 > 0
    assert record.excluded_mm2 == part.excluded_mm2
    assert part.tissue_mm2 + part.excluded_mm2 == pytest.approx(whole.tissue_mm2)
    assert record.quality is not None
    assert part.excluded_mm2 == pytest.approx(sum(each.mm2 for each in record.quality.areas), rel=0.02)
    layer = json.loads(gzip.decompress((tmp_path / "job-1" / "quality.geojson.gz").read_bytes()))
    assert "Ink" in {each["properties"]["classification"]["name"] for each in layer["features"]}
    assert "quality.geojson.gz" in record.files
    assert part.classes != whole.classes


@pytest.mark.slow
def test_what_nobody_can_tell_is_said_where_it_was_asked_for(job: Job, tmp_path: Path) -> None:
    _, record, statistics = job("fluorescence", quality=True, exclude_quality=["ink"], ignore_modality=True)
    assert record.quality is None
    assert "quality_unknown" in codes(record)
    assert statistics.excluded_mm2 == 0
    assert json.loads(gzip.decompress((tmp_path / "job-0" / "quality.geojson.gz").read_bytes()))["features"] == []


@pytest.mark.parametrize(
    ("asked", "expected"),
    [(True, QUALITY_NAMES), (False, ()), (["fold", "ink", "ink"], ("ink", "fold")), ([], ())],
)
def test_what_to_leave_out_is_all_or_some(asked: object, expected: tuple[str, ...]) -> None:
    assert JobRequest(slide_id="s", exclude_quality=asked).exclude_quality == expected


@pytest.mark.parametrize("asked", ["ink", ["dust"], 1, {"ink": True}])
def test_what_is_no_kind_of_fault_is_refused(asked: object) -> None:
    with pytest.raises(ValidationError):
        JobRequest(slide_id="s", exclude_quality=asked)
