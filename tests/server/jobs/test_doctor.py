"""The doctor finds what deaths leave behind, mends what can be mended, and leaves what is sound alone."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from job_requests import add_slide
from queue_fixtures import entries, running, stored, submitted, sweep, write_result

from server.cli.main import main
from server.jobs import doctor
from server.jobs.doctor import STALE_S, Doctor
from workers.core.corrections.log import FILE
from workers.core.digests import sha256_of
from workers.core.job_files import ENDING
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import JobKeys
from workers.core.storage.files import write_json
from workers.core.store import new_id

pytestmark = pytest.mark.process


def succeeded(jobs: Jobs) -> str:
    job_id = stored(jobs)
    write_result(jobs, job_id)
    folder = jobs.store.job_dir(job_id)
    (folder / "preview.png").write_bytes(b"picture")
    result = jobs.store.read_result(job_id)
    files, sizes = {"preview.png": sha256_of(folder / "preview.png")}, {"preview.png": 7}
    write_json(folder / "result.json", result.model_copy(update={"files": files, "sizes_bytes": sizes}))
    sweep(jobs)
    return job_id


def canceled(jobs: Jobs) -> str:
    job_id = submitted(jobs)
    jobs.cancel(job_id)
    return job_id


def old(path: Path) -> None:
    path.write_bytes(b"half")
    os.utime(path, (path.stat().st_mtime - STALE_S - 60,) * 2)


def no_folder(jobs: Jobs) -> str:
    job_id = canceled(jobs)
    jobs.store.delete_job(job_id)
    return job_id


def no_end(jobs: Jobs) -> str:
    job_id = canceled(jobs)
    (jobs.store.job_dir(job_id) / ENDING).unlink()
    return job_id


def end_unknown_to_the_queue(jobs: Jobs) -> str:
    job_id = canceled(jobs)
    jobs.redis.hset(JobKeys(job_id).record, "state", "queued")
    return job_id


def half_written(jobs: Jobs) -> str:
    job_id = running(jobs, 2)
    old(jobs.store.job_dir(job_id) / ".0123456789ab.overlay.ome.tif")
    return job_id


def results_left(jobs: Jobs) -> str:
    job_id = canceled(jobs)
    (jobs.store.job_dir(job_id) / "overlay.ome.tif").write_bytes(b"half")
    return job_id


def trash(jobs: Jobs) -> str:
    (jobs.store.root / "trash" / "a").mkdir()
    return "a"


def torn_corrections(jobs: Jobs) -> str:
    job_id = succeeded(jobs)
    (jobs.store.job_dir(job_id) / FILE).write_bytes(b'{"revision":1,"at":"2026-')
    return job_id


def no_request(jobs: Jobs) -> str:
    job_id = new_id()
    jobs.store.job_dir(job_id).mkdir()
    return job_id


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (stored, "folder_without_record"),
        (no_folder, "record_without_folder"),
        (no_end, "end_not_written"),
        (end_unknown_to_the_queue, "end_not_written"),
        (half_written, "temporary_files"),
        (results_left, "results_of_an_ended_job"),
        (trash, "trash"),
        (torn_corrections, "corrections_torn"),
        (no_request, "folder_without_request"),
    ],
)
def test_what_is_left_behind_is_found_and_mended(jobs: Jobs, spoil: Callable[[Jobs], str], kind: str) -> None:
    succeeded(jobs), canceled(jobs), running(jobs, 3)
    assert list(Doctor(jobs, digests=True).findings()) == []
    spoiled = spoil(jobs)
    (found,) = Doctor(jobs).findings()
    assert (found.kind, found.id, found.mended) == (kind, spoiled, False)
    (found,) = Doctor(jobs, repair=True).findings()
    assert (found.kind, found.mended) == (kind, True)
    assert list(Doctor(jobs, digests=True).findings()) == []


def test_results_that_are_not_what_was_written_are_told(jobs: Jobs) -> None:
    one, two, three = (succeeded(jobs) for _ in range(3))
    (jobs.store.job_dir(one) / "preview.png").write_bytes(b"pictura")
    (jobs.store.job_dir(two) / "preview.png").write_bytes(b"longer picture")
    (jobs.store.job_dir(three) / "preview.png").unlink()
    (jobs.store.job_dir(canceled(jobs)) / "job.json").write_text("{")
    quick = {(finding.kind, finding.id) for finding in Doctor(jobs, repair=True).findings() if not finding.mended}
    assert {kind for kind, _ in quick} == {"result_changed", "result_missing", "job_unreadable"}
    assert {job_id for kind, job_id in quick if kind != "job_unreadable"} == {two, three}
    whole = {finding.id for finding in Doctor(jobs, digests=True).findings() if finding.kind.startswith("result")}
    assert whole == {one, two, three}


def test_corrections_that_cannot_be_read_are_told(jobs: Jobs) -> None:
    job_id = succeeded(jobs)
    (jobs.store.job_dir(job_id) / FILE).write_bytes(b"{}\n")
    (found,) = Doctor(jobs, repair=True).findings()
    assert (found.kind, found.id, found.mended) == ("corrections_unreadable", job_id, False)


def test_a_folder_without_request_that_holds_something_is_kept(jobs: Jobs) -> None:
    job_id = no_request(jobs)
    kept = jobs.store.job_dir(job_id) / "labels.ome.tif"
    kept.write_bytes(b"labels")
    (found,) = Doctor(jobs, repair=True).findings()
    assert (found.kind, found.mended, kept.read_bytes()) == ("folder_without_request", False, b"labels")


def test_what_is_being_written_is_left_alone(jobs: Jobs) -> None:
    job_id = running(jobs, 2)
    (jobs.store.job_dir(job_id) / ".0123456789ab.overlay.ome.tif").write_bytes(b"half")
    assert list(Doctor(jobs, repair=True).findings()) == []


def test_what_goes_while_it_is_looked_at_is_no_matter(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    array = jobs.store.job_dir(running(jobs, 2)) / "labels.zarr"
    (array / "c" / "0").mkdir(parents=True)
    (array / "c" / ".0123456789ab.1").write_bytes(b"half")

    def gone(_path: Path) -> bool:
        shutil.rmtree(array)
        return False

    monkeypatch.setattr(doctor, "_is_stale", gone)
    assert list(Doctor(jobs).findings()) == []
    assert not array.exists()
    deleted = succeeded(jobs)
    looks = [found for job_id, found in Doctor(jobs, digests=True).looks() if job_id == deleted]
    jobs.store.delete_job(deleted)
    jobs.forget(deleted)
    assert [list(found) for found in looks] == [[]]
    assert list(Doctor(jobs)._results(deleted)) == []


def test_the_command_tells_mends_and_says_how_it_ended(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LDIFFUSION_REDIS_URL", jobs.settings.redis_url)
    lost = stored(jobs)
    arguments = ["doctor", "--data-dir", str(jobs.settings.data_dir)]
    told = CliRunner().invoke(main, arguments)
    assert (told.exit_code, told.output.splitlines()[-1]) == (1, "1 left")
    assert f"found   folder_without_record     {lost}" in told.output
    assert CliRunner().invoke(main, [*arguments, "--repair"]).exit_code == 0
    assert entries(jobs) == [("plan_slide", [lost])]
    told = CliRunner().invoke(main, arguments)
    assert (told.exit_code, told.output) == (0, "all is well\n")
    assert CliRunner().invoke(main, [*arguments, "--resume", lost]).exit_code == 2  # it has not failed


def test_without_a_server_the_command_opens_the_queue_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LDIFFUSION_REDIS_URL", raising=False)
    told = CliRunner().invoke(main, ["doctor", "--data-dir", str(tmp_path / "data")])
    assert (told.exit_code, told.output) == (0, "all is well\n")


def test_a_record_that_was_changed_by_hand_is_told_mended_and_makes_the_index_anew(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LDIFFUSION_REDIS_URL", jobs.settings.redis_url)
    arguments = ["doctor", "--data-dir", str(jobs.settings.data_dir)]
    slide_id = add_slide(jobs.store, 0.5)
    assert CliRunner().invoke(main, arguments).output == "all is well\n"
    path = jobs.store.slide_dir(slide_id) / "slide.json"
    for size, option in ((9, "--repair"), (8, "--rebuild-catalogue")):
        path.write_text(re.sub(r'"size_bytes": \d', f'"size_bytes": {size}', path.read_text()))
        told = CliRunner().invoke(main, arguments)
        assert (told.exit_code, told.output.split()[:3]) == (1, ["found", "catalogue_differs", slide_id])
        assert CliRunner().invoke(main, [*arguments, option]).exit_code == 0
        assert CliRunner().invoke(main, arguments).output == "all is well\n"
    told = CliRunner().invoke(main, [*arguments, "--rebuild-catalogue"])
    assert told.output.splitlines()[0] == "the index is made anew: 1 of kind slide"
