"""The account of jobs itself: it must see what is wrong. And the table."""

import random
from pathlib import Path

import pytest
from fault_fixtures import Faulted, settle
from fault_processes import awaited
from fault_report import BEGIN, END, Extent, Faults, filled

from workers.core.label_layout import STORE

pytestmark = [pytest.mark.process, pytest.mark.faults, pytest.mark.timeout(900)]


def flip_a_byte(server: Faulted) -> None:
    path = next(path for path in (server.data_dir / "jobs" / server.jobs[-1] / STORE).rglob("*") if path.is_file())
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def leave_a_temporary_file(server: Faulted) -> None:
    (server.data_dir / "jobs" / server.jobs[-1] / ".0123456789ab.labels.ome.tif").write_bytes(b"half")


def lose_a_job(server: Faulted) -> None:
    server.ask("DELETE", f"/v1/jobs/{server.jobs[-1]}")


def double_a_job(server: Faulted) -> None:
    server.submit()
    server.jobs.pop()


HARMS = (double_a_job, flip_a_byte, leave_a_temporary_file, lose_a_job)


def test_the_account_sees(faulted: Faulted, extent: Extent) -> None:
    for harm in extent.some(HARMS):
        kept = list(faulted.jobs)
        faulted.ended(faulted.submit())
        faults = Faults()
        faults.did("harm")
        harm(faulted)
        with pytest.raises(AssertionError):
            settle(faulted, faults)
        assert faults.table().splitlines()[2:] == ["| harm | 1 | 0 | 1 |", "| all | 1 | 0 | 1 |"]
        for job_id in {str(view["id"]) for view in faulted.listed("jobs")} - set(kept):
            awaited(lambda: faulted.view(job_id)["finished_at"])  # noqa: B023 (called before the next round)
            faulted.ask("DELETE", f"/v1/jobs/{job_id}")
        faulted.jobs = kept
        settle(faulted, faults)


def test_the_table_goes_between_its_marks(tmp_path: Path) -> None:
    assert filled(f"a\n{BEGIN}\nold\n{END}\nb\n", "new\n") == f"a\n{BEGIN}\n\nnew\n\n{END}\nb\n"
    with pytest.raises(ValueError, match="no lines"):
        filled(f"{BEGIN}\n", "new\n")


def test_a_short_run_does_less_of_each_kind(chance: random.Random) -> None:
    whole, short = Extent(chance, is_short=False), Extent(chance, is_short=True)
    assert (len(whole.times(12)), whole.some("abc")) == (12, ["a", "b", "c"])
    assert (len(short.times(12)), len(short.times(1)), len(short.some("abc"))) == (2, 1, 1)
    assert {short.some("abc")[0] for _ in range(100)} == {"a", "b", "c"}
