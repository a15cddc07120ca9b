"""Objects by place and by order, and their density, over HTTP; the density against a slow count."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import numpy as np
import pytest
from fiducials import MARK_CONFIDENCE, MARKS, SLIDE_MPP, Finished
from pipeline_fixtures import work

from server.results import objects
from workers import tasks
from workers.core.queue.jobs import Jobs
from workers.core.queue.leases import Leases
from workers.core.schemas import Plan
from workers.core.settings import Settings
from workers.core.store import new_id


@pytest.fixture
def settings(plain: Finished, queue_settings: Settings, tmp_path: Path) -> Settings:
    shutil.copytree(plain.store.root, tmp_path / "data", ignore=shutil.ignore_patterns("products"))
    return queue_settings


@pytest.fixture
def client(plain: Finished, settings: Settings, gateway_with: Any, colour: ModuleType) -> Iterator[httpx.Client]:
    """A client of the job, whose index is asked for, made, and there."""
    jobs = Jobs(settings.redis_url, settings)
    runtime = tasks.configure(settings, Leases(jobs, new_id()), colour.ColourEngine)
    with gateway_with(settings) as url:
        address = f"{url}/v1/jobs/{plain.job_id}/"
        with httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
            first = client.get("objects")
            assert (first.status_code, first.json()["state"]) == (202, "making")
            work(runtime)
            yield client
    jobs.close()


def test_marks_are_found_by_place_and_in_order(client: httpx.Client) -> None:
    for mark in MARKS:
        inside = {"at": f"{mark.x + mark.width / 2},{mark.y + 1.5}", "shapes": "true"}
        [found] = client.get("objects", params=inside).json()["items"]
        assert found["bbox"] == list(mark.box)
        assert found["area_um2"] == pytest.approx(mark.width * mark.height * SLIDE_MPP**2)
        assert found["confidence"] == pytest.approx(MARK_CONFIDENCE / 255, abs=1e-4)
        assert {tuple(corner) for corner in found["rings"][0]} == {
            (x, y) for x in (mark.box[0], mark.box[2]) for y in (mark.box[1], mark.box[3])
        }
        assert client.get("objects", params={"at": f"{mark.x - 1},{mark.y + 1}"}).json()["total"] == 0
    pages: list[dict[str, Any]] = []
    cursor: str | None = "0"
    while cursor is not None:
        page = client.get("objects", params={"order": "-area", "limit": 2, "cursor": cursor}).json()
        assert page["total"] == len(MARKS)
        pages += page["items"]
        cursor = page["next_cursor"]
    areas = [each.width * each.height * SLIDE_MPP**2 for each in MARKS]
    assert [each["area_um2"] for each in pages] == pytest.approx(sorted(areas, reverse=True))
    assert {each["rings"] for each in pages} == {None}
    lone = {"bbox": ",".join(str(side) for side in MARKS[1].box)}
    assert [each["bbox"] for each in client.get("objects", params=lone).json()["items"]] == [list(MARKS[1].box)]
    assert client.get("objects", params={"min_confidence": 0.5}).json()["items"] == []


def test_an_answer_is_kept_and_told_by_its_question(client: httpx.Client) -> None:
    answers = [client.get(f"objects?{question}") for question in ("order=area", "order=-area", "order=area")]
    tags = [answer.headers["etag"] for answer in answers]
    assert tags[0] == tags[2] != tags[1]
    assert client.get("objects?order=area", headers={"if-none-match": tags[0]}).status_code == 304
    assert client.get("density", headers={"if-none-match": client.get("density").headers["etag"]}).status_code == 304


@pytest.mark.parametrize(
    ("address", "word"),
    [
        ("objects?at=1", "at"), ("objects?at=nan,1", "at"), ("objects?bbox=1,2,3", "bbox"),
        ("objects?order=name", "order"),
        ("objects?class=none", "class"), ("objects?max_confidence=2", "max_confidence"), ("objects?limit=501", "limit"),
        ("density?class=none", "class"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(client: httpx.Client, address: str, word: str) -> None:
    answer = client.get(address)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")
    assert answer.json()["error"]["message"].startswith(f"{word}: ")


def test_the_density_counts_the_marks_where_they_are(client: httpx.Client) -> None:
    found = client.get("density").json()
    assert (found["cell_um"], found["cell_px"]) == (50, [200, 200])
    assert (found["columns"], found["rows"]) == (12, 8)
    counts = np.array(found["counts"]).reshape(8, 12)
    cells = {(int((m.y + m.height / 2) // 200), int((m.x + m.width / 2) // 200)) for m in MARKS}
    assert {tuple(cell) for cell in np.argwhere(counts).tolist()} == cells
    assert counts.sum() == len(MARKS)
    per_mm2 = np.array(found["per_mm2"]).reshape(8, 12)
    assert per_mm2[next(iter(cells))] == pytest.approx(1 / 0.05**2)


class Points:
    """An index in memory, of places and classes alone."""

    def __init__(self, x: Any, y: Any, class_index: Any) -> None:
        self.rows = len(x)
        self._columns = {"x": x, "y": y, "class_index": class_index}

    def column(self, name: str) -> Any:
        return self._columns[name]


@pytest.mark.parametrize(("width", "height", "mpp"), [(2311, 1543, (0.2431, 0.2437)), (90_000, 40_000, (0.25, 0.25))])
def test_a_density_is_what_one_counts_cell_by_cell(
    make_plan: Callable[..., Plan], width: int, height: int, mpp: tuple[float, float]
) -> None:
    plan = make_plan(width, height, mpp_x=mpp[0], mpp_y=mpp[1], l0_width=width, l0_height=height)
    random = np.random.default_rng(1)
    points = [(random.uniform(0, width), random.uniform(0, height), int(random.integers(1, 3))) for _ in range(400)]
    index: Any = Points(*(np.array(each) for each in zip(*points, strict=True)))
    for wanted in (None, 2):
        found = objects.density_of(index, plan, wanted)
        assert max(found.columns, found.rows) <= objects.CELLS_MAX
        wide, high = found.cell_px
        assert wide * mpp[0] == pytest.approx(found.cell_um)
        for row in range(found.rows):
            for col in range(found.columns):
                right, lower = min((col + 1) * wide, width), min((row + 1) * high, height)
                inside = [
                    1 for x, y, kind in points
                    if col * wide <= x < right and row * high <= y < lower and wanted in (None, kind)
                ]  # fmt: skip
                at = row * found.columns + col
                assert found.counts[at] == len(inside)
                if inside:
                    mm2 = (right - col * wide) * mpp[0] * (lower - row * high) * mpp[1] / 1e6
                    assert found.per_mm2[at] == pytest.approx(len(inside) / mm2, rel=1e-3)
