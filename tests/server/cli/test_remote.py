"""What the command asks of a server, on a gateway without a worker."""

from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from finished_jobs import finished_job
from job_requests import add_slide, submit

from server.cli.main import main
from server.cli.remote import in_words
from workers.core.settings import Settings
from workers.core.store import Store


def said(*arguments: str) -> str:
    result = CliRunner().invoke(main, [*arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_usage_tells_what_there_is(gateway: httpx.Client, gateway_settings: Settings) -> None:
    store = Store(gateway_settings.data_dir)
    submit(gateway, add_slide(store, 0.5))
    finished_job(store)
    lines = said("usage", "--server", str(gateway.base_url)).splitlines()
    assert lines[0].split() == ["slides", "1", "4", "B"]
    assert [line.split()[:2] for line in lines][1:4] == [["jobs", "2"], ["batches", "0"], ["uploads", "0"]]
    assert lines[4].endswith("MiB (no limit)")
    assert lines[5].split() == ["unfinished", "jobs", "1", "(no", "limit)"]


def test_batches_are_listed_fetched_and_deleted(
    gateway: httpx.Client, gateway_settings: Settings, tmp_path: Path
) -> None:
    server = ("--server", str(gateway.base_url))
    slide_ids = [add_slide(Store(gateway_settings.data_dir), 0.5)]
    batch = gateway.post("/v1/batches", json={"slide_ids": slide_ids, "model": "made-model"}).json()
    listed = said("batches", "list", *server)
    assert batch["id"] in listed
    assert listed.endswith("1 queued\n")
    for name, first in (("cohort.parquet", b"PAR1"), ("cohort.csv", b"name,slide,state,")):
        assert said("batches", "cohort", batch["id"], "-o", str(tmp_path / name), *server) == f"{tmp_path / name}\n"
        assert (tmp_path / name).read_bytes().startswith(first)
    result = CliRunner().invoke(main, ["batches", "cohort", batch["id"], "-o", "cohort.xls", *server])
    assert result.exit_code == 2
    assert said("batches", "delete", batch["id"], *server).startswith("What had not started is canceled")
    assert said("batches", "delete", batch["id"], *server) == "Deleted.\n"
    assert said("batches", "list", *server) == ""
    again = gateway.post("/v1/batches", json={"slide_ids": slide_ids, "model": "made-model"}).json()
    assert said("batches", "delete", again["id"], "--jobs", *server) == "Deleted.\n"
    assert gateway.get("/v1/usage").json()["jobs"] == 1
    result = CliRunner().invoke(main, ["batches", "delete", again["id"], *server])
    assert result.exit_code != 0


def test_a_server_that_is_not_there_is_told() -> None:
    result = CliRunner().invoke(main, ["usage", "--server", "http://127.0.0.1:1"])
    assert result.exit_code != 0


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 * 2**30, "5.0 GiB"), (2**60, "1048576.0 TiB")],
)
def test_bytes_are_told_as_a_person_reads_them(size: int, words: str) -> None:
    assert in_words(size) == words
