"""`ldiffusion submit` of many slides: against a gateway whose jobs are finished by hand."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from click.testing import CliRunner, Result
from finished_jobs import finished_job
from made_slides import write_slide

from ldiffusion_client import Client, JobView
from server.cli.main import main
from workers.core.schemas import JobRequest
from workers.core.settings import Settings
from workers.core.store import Store

Run = Callable[..., Result]


@pytest.fixture
def client(gateway: httpx.Client) -> Iterator[Client]:
    with Client(str(gateway.base_url)) as client:
        yield client


@pytest.fixture
def slides(tmp_path: Path) -> Path:
    folder = tmp_path / "slides"
    folder.mkdir()
    for value, name in enumerate("ab"):
        write_slide(folder / f"{name}.tif", np.full((300, 300, 3), 200 + value, np.uint8))
    return folder


@pytest.fixture
def run(gateway: httpx.Client, tmp_path: Path) -> Run:
    def call(*arguments: object) -> Result:
        line = ["submit", *arguments, "-o", tmp_path / "out", "--server", gateway.base_url, "--model", "made-model"]
        return CliRunner().invoke(main, [str(each) for each in line])

    return call


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch, client: Client, gateway_settings: Settings) -> list[str]:
    """Jobs that were waited for; each ends at once, with results."""
    asked: list[str] = []
    wait = Client.wait

    def end(self: Client, job_id: str, **named: Any) -> JobView:
        asked.append(job_id)
        job = self.job(job_id)
        if job.state == "succeeded":
            return wait(self, job_id, **named)
        request = JobRequest.model_validate(job.request.model_dump())
        self.delete_job(job_id)
        return self.job(finished_job(Store(gateway_settings.data_dir), request, client.models()[0].digest))

    monkeypatch.setattr(Client, "wait", end)
    return asked


def test_what_the_server_lacks_is_sent_in_one_batch_and_a_second_run_sends_nothing(
    run: Run, slides: Path, client: Client, ended: list[str], tmp_path: Path
) -> None:
    (slides / "c.tif").write_text("no slide")
    first = run(slides, "--summary", tmp_path / "x.csv")
    assert first.exit_code == 1, first.output
    assert [line.split()[:2] for line in first.stdout.splitlines() if line[:3] in ("a  ", "b  ", "c  ")] == [
        ["a", "done"], ["b", "done"], ["c", "failed"],
    ]  # fmt: skip
    (batch,) = client.batches()
    assert len(batch.items) == 2
    with (tmp_path / "x.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["error"].partition(":")[0] for row in rows] == ["", "", "slide_unreadable"]
    (slides / "c.tif").unlink()
    uploads = {slide.id for slide in client.slides()}
    again = run(slides)
    assert again.exit_code == 0, again.output
    assert [line.split()[1:3] for line in again.stdout.splitlines() if line[:3] in ("a  ", "b  ")] == [
        ["done", "before"], ["done", "before"],
    ]  # fmt: skip
    assert {slide.id for slide in client.slides()} == uploads
    assert len(client.batches()) == 1
    assert {path.name for path in (tmp_path / "out" / "a").iterdir()} >= {"result.json", "statistics.json"}


def test_a_manifest_asks_for_each_slide_in_its_own_words(
    run: Run, slides: Path, client: Client, ended: list[str], tmp_path: Path
) -> None:
    (tmp_path / "m.csv").write_text("path,mpp,labels\nslides/a.tif,0.4,arm=x\nslides/b.tif,,\n")
    labels = ("--label", "arm=none", "--label", "case=S26-01=7")
    done = run("--manifest", tmp_path / "m.csv", "--summary", tmp_path / "x.csv", *labels)
    assert done.exit_code == 0, done.output
    assert {slide.filename: dict(slide.labels) for slide in client.slides()} == {
        "a.tif": {"arm": "x", "case": "S26-01=7"},
        "b.tif": {"arm": "none", "case": "S26-01=7"},
    }
    assert {job.request.mpp for job in client.jobs()} == {0.4, None}
    assert {job.request.priority for job in client.jobs()} == {"batch"}
    assert len(client.batches()) == 2
    assert (tmp_path / "x.csv").read_text().splitlines()[1].endswith(",x")


def test_what_is_wrong_is_told_before_anything_is_sent(
    run: Run, slides: Path, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Client, "upload", lambda *_args, **_named: pytest.fail("a slide was sent"))
    (tmp_path / "m.csv").write_text("path,model\nslides/a.tif,no-such\n")
    for arguments, told in (
        ((slides, tmp_path / "absent.svs"), "error: invalid_request: No such file or folder."),
        (("--manifest", tmp_path / "m.csv"), "error: invalid_request: m.csv, line 2: The server has no model"),
        ((slides, "--output", "no-such"), "error: invalid_request: outputs.0: "),
        ((slides, "--roi", "0,0,9,9"), "error: invalid_request: --roi is of one slide."),
        ((slides, "--summary", "x.xlsx"), "error: invalid_request: --summary: "),
    ):
        result = run(*arguments)
        assert (result.exit_code, result.stderr[: len(told)]) == (2, told)
    for usage in (
        (slides, "--label", "no value"),
        (),
        (slides, "--manifest", tmp_path / "m.csv"),
        (tmp_path / "absent.svs",),
    ):
        assert run(*usage).exit_code == 2
    assert client.slides() == []


def test_of_a_batch_of_which_none_can_have_a_job_each_slide_says_why(run: Run, tmp_path: Path) -> None:
    for value, name in enumerate("ab"):
        write_slide(tmp_path / f"{name}.tif", np.full((300, 300, 3), 200 + value, np.uint8), mpp=None)
    done = run(tmp_path / "a.tif", tmp_path / "b.tif")
    assert done.exit_code == 1
    assert [line.split()[-1] for line in done.stdout.splitlines() if line[:3] in ("a  ", "b  ")] == ["mpp_missing"] * 2


def test_ctrl_c_prints_the_table(run: Run, slides: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_args: object, **_named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "wait", interrupt)
    done = run(slides)
    assert done.exit_code == 130
    assert "2 slides: 2 interrupted" in done.stdout
