"""Objects are traced beside the pyramids: the same bytes in the same order as one after the other, and a clean end."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from workers import stages, writers
from workers.core.errors.base import JobCanceled, SlideUnreadable
from workers.core.model.catalogue import find_model
from workers.core.schemas import JobRequest, Provenance
from workers.core.slide_schemas import SlideInfo
from workers.core.slides.readers.registry import open_slide
from workers.outputs.landed import LANDED, Told
from workers.outputs.vector.object_table import write_objects
from workers.outputs.vector.vectorize import write_geojson
from workers.pipeline import stitch
from workers.process.beside import Stopped

MOMENT = datetime(2026, 1, 2, tzinfo=UTC)
DEADLINE_S = 30.0

Finish = Callable[..., Provenance]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "job"


@pytest.fixture
def finish(
    made_slide: Callable[..., Path], stained: NDArray[np.uint8], model_folder: Path, colour: ModuleType, folder: Path
) -> Finish:
    """Return a function that makes the outputs of a job whose regions have landed, from none on each time."""
    path, card = made_slide(stained), find_model(model_folder.parent, model_folder.name)
    engine, request = colour.ColourEngine(model_folder), JobRequest(slide_id="s", model=card.name, region_px=512)
    folder.mkdir()
    with open_slide(path) as slide:
        info = SlideInfo(
            id="s", filename="made.tif", size_bytes=1, sha256="b" * 64, vendor=slide.vendor, backend=slide.backend,
            geometry=slide.geometry, created_at=MOMENT,
        )  # fmt: skip
        plan = stages.plan_job(slide, info, request, card, folder, "job")
        for index in plan.regions:
            stages.segment_one(slide, plan, index, engine, folder)

    def run(threads: int, told: Told) -> Provenance:
        for name in (*plan.outputs, LANDED, stages.RESULT):
            (folder / name).unlink(missing_ok=True)
        with open_slide(path) as slide:
            return stages.finish_job(
                slide, info, plan, folder, created_at=MOMENT, timings_s={}, told=told, threads=threads
            )

    return run


def hearing() -> tuple[list[str], Told]:
    heard: list[str] = []
    return heard, Told(announce=lambda name: heard.append(f"begin {name}"), landed=heard.append)


def left_behind(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_two_threads_make_the_same_bytes_in_the_same_order(
    finish: Finish, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran_in: list[bool] = []

    def watched(*given: Any) -> Any:
        ran_in.append(threading.current_thread() is threading.main_thread())
        return write_objects(*given)

    monkeypatch.setattr(writers, "write_objects", watched)
    (alone, told_alone), (both, told_both) = hearing(), hearing()
    one, two = finish(1, told_alone), finish(2, told_both)
    assert ran_in == [True, False]
    assert one.files == two.files
    assert alone == both
    assert alone[:4] == ["begin overlay.ome.tif", "overlay.ome.tif", "begin labels.ome.tif", "labels.ome.tif"]
    assert left_behind(folder) == []


def test_polygons_of_the_shared_pass_are_those_of_a_pass_of_their_own(
    finish: Finish, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(writers, "write_geojson", None)  # nobody traces a second time
        finish(1, Told())
    plan = stages.read_plan(folder)
    assert plan is not None
    count = write_geojson(tmp_path / "own.gz", stitch.open_labels(folder), plan, writers.stain_of(folder, plan))
    assert count > 10
    assert (tmp_path / "own.gz").read_bytes() == (folder / "regions.geojson.gz").read_bytes()


@contextmanager
def endless_trace(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, list[type[BaseException]]]]:
    """Have the trace go on until it is stopped; give how it ended."""
    ends: list[type[BaseException]] = []
    begun, late = threading.Event(), threading.Event()

    def write(path: Path, _source: object, _regions: object, check: Callable[[], None]) -> None:
        path.write_bytes(b"half")
        begun.set()
        try:
            while not late.wait(0.001):
                check()
        except BaseException as reason:
            ends.append(type(reason))
            raise

    monkeypatch.setattr(writers, "write_objects", write)
    timer = threading.Timer(DEADLINE_S, late.set)
    timer.start()
    yield begun, ends
    timer.cancel()


@pytest.mark.parametrize("reason", [JobCanceled("Canceled."), RuntimeError("made up")])
def test_what_ends_a_pyramid_ends_the_trace_and_leaves_nothing(
    finish: Finish, folder: Path, monkeypatch: pytest.MonkeyPatch, reason: Exception
) -> None:
    with endless_trace(monkeypatch) as (begun, ends):

        def write(*_: Any) -> None:
            assert begun.wait(DEADLINE_S)
            raise reason

        monkeypatch.setattr(writers, "write_overlay", write)
        with pytest.raises(type(reason)) as raised:
            finish(2, Told())
    assert raised.value is reason
    assert ends == [Stopped]
    assert left_behind(folder) == []
    assert not (folder / "objects.parquet").exists()


def test_an_error_of_the_trace_is_told_when_it_is_its_turn(
    finish: Finish, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(path: Path, *_: Any) -> None:
        path.write_bytes(b"half")
        raise SlideUnreadable("A tile cannot be decoded.")

    monkeypatch.setattr(writers, "write_objects", write)
    heard, told = hearing()
    with pytest.raises(SlideUnreadable):
        finish(2, told)
    assert heard[-2:] == ["labels.ome.tif", "begin objects.parquet"]
    assert left_behind(folder) == []
