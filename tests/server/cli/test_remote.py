"""What the command asks of a server, on a gateway without a worker."""

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


def test_a_server_that_is_not_there_is_told() -> None:
    result = CliRunner().invoke(main, ["usage", "--server", "http://127.0.0.1:1"])
    assert result.exit_code != 0


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 * 2**30, "5.0 GiB"), (2**60, "1048576.0 TiB")],
)
def test_bytes_are_told_as_a_person_reads_them(size: int, words: str) -> None:
    assert in_words(size) == words
