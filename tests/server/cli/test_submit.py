"""`ldiffusion submit`: which job it goes on with, what it says, what its options become."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from click.testing import CliRunner
from finished_jobs import FILES, finished_job
from https_files import Files
from made_slides import MadeSlide

from ldiffusion_client import Client, Refused
from ldiffusion_client.errors import failure
from ldiffusion_client.records import RoiCheck
from server.cli.main import main
from server.cli.submit import area_table, find_job
from workers.core.schemas import JobRequest
from workers.core.settings import Settings
from workers.core.store import Store

POLYGON = {"type": "Polygon", "coordinates": [[[0, 0], [200, 0], [200, 100], [0, 0]]]}


@pytest.fixture
def client(gateway: httpx.Client) -> Iterator[Client]:
    with Client(str(gateway.base_url)) as client:
        yield client


@pytest.fixture
def small(made_slide: MadeSlide) -> Path:
    return made_slide(np.full((300, 300, 3), 200, np.uint8))


def test_only_a_job_that_leads_to_the_same_results_is_gone_on_with(
    client: Client, small: Path, gateway_settings: Settings
) -> None:
    store, slide_id = Store(gateway_settings.data_dir), client.upload(small).id
    words: dict[str, Any] = {"model": "made-model", "roi": [0, 0, 100, 100], "outputs": ["preview.png"]}
    assert find_job(client, slide_id, words) is None
    job = client.submit(slide_id, **words)
    found = find_job(client, slide_id, words)
    assert found is not None
    assert found.id == job.id
    for other in ({"seed": 1}, {"roi": [0, 0, 100, 101]}, {"outputs": ["no-such"]}):
        assert find_job(client, slide_id, words | other) is None
    client.delete_job(job.id)
    assert find_job(client, slide_id, words) is None
    request = JobRequest(slide_id=slide_id, **words)
    finished_job(store, request, model_digest="of an older model")
    assert find_job(client, slide_id, words) is None
    current = finished_job(store, request, client.models()[0].digest)
    found = find_job(client, slide_id, words)
    assert found is not None
    assert found.id == current


@pytest.mark.parametrize("roi", ["10,20,200,200", "file"])
def test_the_command_goes_on_with_what_is_there_and_fetches_it(
    client: Client, gateway: httpx.Client, small: Path, gateway_settings: Settings, tmp_path: Path, roi: str
) -> None:
    slide_id = client.upload(small).id
    wanted = [10, 20, 200, 200] if roi != "file" else POLYGON
    request = JobRequest.model_validate(
        {"slide_id": slide_id, "model": "made-model", "roi": wanted, "priority": "batch", "on_bad_tile": "mask"}
    )
    job_id = finished_job(Store(gateway_settings.data_dir), request, client.models()[0].digest)
    (tmp_path / "roi.json").write_text(json.dumps(POLYGON))
    given = roi if roi != "file" else str(tmp_path / "roi.json")
    line = ["submit", str(small), "-o", str(tmp_path / "out"), "--server", str(gateway.base_url), "--roi", given]
    line += ["--model", "made-model", "--priority", "batch", "--on-bad-tile", "mask", "--product", "statistics.csv"]
    done = CliRunner().invoke(main, line)
    assert done.exit_code == 0, done.output
    assert f"job {job_id}: model made-model, begun before" in done.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*FILES, "result.json", "statistics.csv"}


def test_what_the_server_refuses_is_one_line(gateway: httpx.Client, small: Path, tmp_path: Path) -> None:
    line = ["submit", str(small), "-o", str(tmp_path / "out"), "--server", str(gateway.base_url)]
    refused = CliRunner().invoke(main, [*line, "--output", "no-such", "--fresh"])
    assert refused.exit_code == 2
    assert refused.stderr.splitlines()[-1].startswith("error: invalid_request: outputs.0: ")
    refused = CliRunner().invoke(main, [*line, "--roi", "here"])
    assert (refused.exit_code, "'here' is neither a box" in refused.stderr) == (2, True)


def test_a_region_is_refused_before_the_slide_is_sent(
    client: Client, gateway: httpx.Client, small: Path, tmp_path: Path
) -> None:
    line = ["submit", str(small), "-o", str(tmp_path / "out"), "--server", str(gateway.base_url), "--roi"]
    (tmp_path / "roi.json").write_text(json.dumps([POLYGON, {"type": "Point", "coordinates": [1, 2]}]))
    refused = CliRunner().invoke(main, [*line, str(tmp_path / "roi.json")])
    assert refused.exit_code == 2
    (said,) = refused.stderr.splitlines()
    assert said.startswith("error: invalid_request: roi[1]: a Point encloses nothing. Given: Point. Accepted: one of ")
    for text in ("[" * 10_000, "[0, 0, NaN, 1]"):
        (tmp_path / "roi.json").write_text(text)
        refused = CliRunner().invoke(main, [*line, str(tmp_path / "roi.json")])
        assert (refused.exit_code, "neither a box" in refused.stderr) == (2, True)
    assert client.slides() == []


def test_only_polygons_of_a_file_are_sent_and_the_server_sees_them_before_the_slide(
    gateway: httpx.Client, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def check_roi(self: Client, roi: Any, slide_id: str | None = None) -> RoiCheck:
        asked.append(roi)
        raise failure(Refused, "invalid_request", "roi: the server knows better.")

    monkeypatch.setattr(Client, "check_roi", check_roi)
    monkeypatch.setattr(Client, "upload", lambda *_args, **_named: pytest.fail("the slide was sent"))
    feature = {"type": "Feature", "geometry": POLYGON, "properties": {"name": "somebody"}}
    (tmp_path / "roi.json").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}), "utf-8-sig")
    line = ["submit", str(small), "-o", str(tmp_path / "out"), "--server", str(gateway.base_url), "--roi"]
    refused = CliRunner().invoke(main, [*line, str(tmp_path / "roi.json")])
    assert refused.stderr.splitlines() == ["error: invalid_request: roi: the server knows better."]
    assert json.loads(json.dumps(asked)) == [POLYGON]


def test_a_region_that_crosses_itself_is_warned_of(
    gateway: httpx.Client, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def upload(*_args: object, **_named: object) -> None:
        raise failure(Refused, "slide_unreadable", "Far enough.")

    monkeypatch.setattr(Client, "upload", upload)
    bow_tie = {"type": "Polygon", "coordinates": [[[0, 0], [10, 10], [10, 0], [0, 10]]]}
    (tmp_path / "roi.json").write_text(json.dumps(bow_tie))
    line = ["submit", str(small), "-o", str(tmp_path / "out"), "--server", str(gateway.base_url), "--roi"]
    done = CliRunner().invoke(main, [*line, str(tmp_path / "roi.json")])
    warned, ended = done.stderr.splitlines()
    assert warned.startswith("warning: roi_self_intersects: The rings of a polygon cross")
    assert warned.endswith("Found at: (5.0, 5.0).")
    assert ended == "error: slide_unreadable: Far enough."


def test_a_certificate_of_ones_own_is_named_on_the_line(
    elsewhere: tuple[str, type[Files]], small: Path, tmp_path: Path
) -> None:
    line = ["submit", str(small), "-o", str(tmp_path / "out"), "--server", f"https://{elsewhere[0]}"]
    assert "certificate" in CliRunner().invoke(main, line).output
    reached = CliRunner().invoke(main, [*line, "--ca-file", os.environ["SSL_CERT_FILE"]])
    assert "does not answer" not in reached.output
    assert "certificate" not in reached.output
    assert elsewhere[1].asked[0][0].startswith("/v1/uploads")


def test_the_area_table_shows_every_class() -> None:
    row = {"index": 0, "color": [0, 0, 0], "pixels": 10}
    classes = [
        row | {"name": "background", "mm2": 0.75, "share_of_tissue": 0.75, "mean_confidence": 0.875},
        row | {"name": "nucleus", "mm2": 0.25, "share_of_tissue": 0.25, "mean_confidence": None, "count": 1207},
    ]
    lines = area_table({"tissue_mm2": 1.0, "classes": classes}).splitlines()
    assert lines[0].split() == ["class", "mm²", "%", "of", "tissue", "confidence", "objects"]
    assert lines[1].split() == ["background", "0.7500", "75.00", "0.875", "–"]
    assert lines[2].split() == ["nucleus", "0.2500", "25.00", "–", "1207"]
    assert lines[3].split() == ["tissue", "1.0000"]
    assert "0.00" in area_table({"tissue_mm2": 0, "classes": [classes[1] | {"share_of_tissue": None}]})
