"""Gateways with data folders of their own that share a storage and one PostgreSQL: each changes what is of its own."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from catalogue_fixtures import emptied
from job_requests import add_slide
from queue_fixtures import REQUEST
from sqlalchemy import create_engine, text

from server.access.quotas import PendingUpload, Quotas
from server.catalogue import entries
from server.catalogue.catalogue import Catalogue
from server.catalogue.listing import list_jobs, list_slides
from server.catalogue.pages import JobFilter, SlideFilter
from server.catalogue.pagination import read_cursor
from server.jobs.doctor import Doctor
from server.uploads.records import Upload
from workers.core.errors.access import QuotaExceeded
from workers.core.job_files import change_labels
from workers.core.queue.jobs import Jobs
from workers.core.settings import Settings
from workers.core.storage.base import StorageSilent
from workers.core.storage.layout import job_record, slide_record
from workers.core.storage.local import LocalStorage
from workers.core.store import new_id
from workers.core.stored.slides import publish_record

pytestmark = pytest.mark.process

MINE = SlideFilter(tenant="local")
ESTIMATED = 100_000


class Host:
    """A gateway's data folder, and what it knows of all."""

    def __init__(self, settings: Settings) -> None:
        self.jobs = Jobs(settings.redis_url, settings)
        self.uploads: list[PendingUpload] = []
        self.index = Catalogue(self.jobs)
        self.quotas = Quotas(self.jobs, lambda: self.uploads, self.index)

    def slide(self, mpp: float = 0.5) -> str:
        slide_id = add_slide(self.jobs.store, mpp)
        publish_record(self.jobs.store, self.jobs.store.read_slide(slide_id))
        self.index.pull()
        return slide_id

    def job(self, slide_id: str, **labels: str) -> str:
        request, job_id = REQUEST.model_copy(update={"slide_id": slide_id}), new_id()
        self.jobs.store.save_request(job_id, request, datetime.now(UTC), "local", ESTIMATED, labels)
        self.jobs.submit(job_id, request)
        self.index.pull()
        return job_id

    def slides(self, wanted: SlideFilter = MINE) -> list[str]:
        return [info.id for info in list_slides(self.index, 100, wanted)[0]]

    def found(self, **wanted: object) -> list[str]:
        return [
            view.id for view in list_jobs(self.index, 100, JobFilter.model_validate({"tenant": "local"} | wanted))[0]
        ]

    def close(self) -> None:
        self.index.close()
        self.jobs.close()


@pytest.fixture
def shared(queue_settings: Settings, postgres: str, tmp_path: Path) -> Settings:
    changes = {"catalogue_url": emptied(postgres), "storage_url": f"file://{tmp_path}/storage"}
    return queue_settings.model_copy(update=changes)


@pytest.fixture
def hosts(shared: Settings, tmp_path: Path, queued_least: None) -> Iterator[tuple[Host, Host]]:
    both = Host(shared), Host(shared.model_copy(update={"data_dir": tmp_path / "other"}))
    yield both
    for host in both:
        host.close()


def test_lists_show_what_is_in_any_folder_and_the_newest_first(hosts: tuple[Host, Host]) -> None:
    here, there = hosts
    ids = [host.slide() for host in (here, there, there, here)]
    assert here.slides() == there.slides() == ids[::-1]
    assert here.index.differing() == there.index.differing() == []
    assert here.slides() == there.slides() == ids[::-1], "nobody has dropped what another has"
    first, cursor = list_slides(there.index, 2, MINE)
    second, last = list_slides(there.index, 2, MINE, read_cursor(cursor))
    assert ([info.id for info in (*first, *second)], last) == (ids[::-1], None)
    assert first[1] == here.jobs.store.read_slide(ids[2]), "as the storage has its record"


def test_jobs_of_another_folder_are_found_by_what_they_are_and_how_they_stand(hosts: tuple[Host, Host]) -> None:
    here, there = hosts
    slide_id, other = here.slide(), there.slide()
    first, second = here.job(slide_id, case="7"), there.job(slide_id)
    third = there.job(other)
    for host in hosts:
        assert host.found() == [third, second, first]
        assert host.found(slide_id=slide_id) == [second, first]
        assert host.found(labels=(("case", "7"),)) == [first]
        assert host.found(states=("queued",)) == [third, second, first]
    here.jobs.cancel(first)
    for host in hosts:
        assert host.found(states=("canceled",)) == [first]
        assert host.found(states=("queued",)) == [third, second]
    change_labels(here.jobs.store, first, {"case": "8"})
    here.index.renew("job", first, "local")
    assert there.found(labels=(("case", "8"),)) == [first]
    assert list_jobs(there.index, 100, JobFilter(tenant="local"))[0][2].labels == {"case": "8"}


def test_what_is_gone_at_its_owner_is_listed_nowhere(hosts: tuple[Host, Host]) -> None:
    here, there = hosts
    slides, jobs = [here.slide(), here.slide()], [here.job(new_id()), here.job(new_id())]
    storage = there.jobs.store.storage
    assert storage is not None
    storage.delete(slide_record(slides[0]))  # its row is still there: its gateway has just died
    storage.delete(job_record(jobs[0]))
    assert (there.slides(), there.found()) == ([slides[1]], [jobs[1]])
    here.jobs.store.delete_slide(slides[1])
    here.jobs.store.delete_job(jobs[1])
    here.index.pull()
    storage.delete(job_record(jobs[1]))
    assert (there.slides(), there.found()) == ([], [])
    assert here.slides() == [slides[0]]


def test_a_storage_that_does_not_answer_hides_nothing_in_silence(
    hosts: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = hosts
    here.slide()

    def silent(*_: object) -> bytes:
        raise StorageSilent("it is away")

    monkeypatch.setattr(LocalStorage, "get", silent)
    with pytest.raises(StorageSilent):
        there.slides()
    assert len(here.slides()) == 1


def test_a_gateway_ends_only_its_own_jobs_in_the_index(
    hosts: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entries, "CLEARED_S", -60.0)
    here, there = hosts
    job_id = here.job(here.slide())
    here.jobs.cancel(job_id)
    there.index.learn("job")
    assert there.index.stored("local").jobs_bytes == ESTIMATED
    here.index.learn("job")
    assert there.index.stored("local").jobs_bytes == here.index.stored("local").jobs_bytes < ESTIMATED
    assert there.index.differing() == here.index.differing() == []


def test_what_tenants_have_and_have_under_way_is_summed_over_all_folders(hosts: tuple[Host, Host]) -> None:
    here, there = hosts
    for host in (here, here, there):
        host.slide()
    for host in hosts:
        assert (host.index.stored("local").slides, host.index.stored("local").slides_bytes) == (3, 12)
    here.uploads.append(_upload(1000))
    here.quotas.tell_pending()
    usage = there.quotas.usage("local")
    assert (usage.uploads, usage.uploads_bytes, usage.stored_bytes) == (1, 1000, 1012)
    assert here.quotas.usage("local") == usage
    there.jobs.settings = there.jobs.settings.model_copy(update={"quota_bytes": 1500})
    there.quotas.hold(1, "local", 480)
    with pytest.raises(QuotaExceeded):
        there.quotas.hold(2, "local", 10)
    here.uploads.clear()
    here.quotas.tell_pending()
    there.quotas.hold(2, "local", 10)
    there.quotas.tell_pending()
    assert here.quotas.usage("local").stored_bytes == 12 + 490


def test_what_one_makes_anew_is_its_own(hosts: tuple[Host, Host]) -> None:
    here, there = hosts
    ids = [here.slide(), there.slide()]
    assert here.index.rebuild() == {"slide": 1}
    assert here.slides() == there.slides() == ids[::-1]


def test_tables_that_somebody_drops_are_made_once_and_filled_by_each(
    hosts: tuple[Host, Host], shared: Settings
) -> None:
    here, there = hosts
    ids = [here.slide(), there.slide()]
    engine = create_engine(shared.catalogue_url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE catalogue_entry"))
    engine.dispose()
    for host in (here, there, here, there):
        host.index.pull()
    assert here.slides() == there.slides() == ids[::-1]


def test_a_folder_that_was_put_back_under_another_name_takes_over_what_it_has(
    hosts: tuple[Host, Host], tmp_path: Path
) -> None:
    here, there = hosts
    slide_id = here.slide()
    here.jobs.store.slide_dir(slide_id).rename(there.jobs.store.slide_dir(slide_id))
    there.index.pull()
    assert there.slides() == [slide_id]
    here.index.pull()
    assert there.slides() == [slide_id], "it is no longer the first one's to drop"
    assert there.index.stored("local").slides == 1


def test_the_doctor_of_one_folder_says_nothing_of_another(hosts: tuple[Host, Host]) -> None:
    here, there = hosts
    slide_id = here.slide()
    job_id = here.job(slide_id)
    assert list(Doctor(there.jobs, repair=True).findings()) == []
    assert here.slides() == there.slides() == [slide_id]
    assert here.found() == there.found() == [job_id]


def test_without_a_storage_nobody_sees_or_counts_what_another_has(shared: Settings, tmp_path: Path) -> None:
    alone = shared.model_copy(update={"storage_url": ""})
    hosts = Host(alone), Host(alone.model_copy(update={"data_dir": tmp_path / "other"}))
    for host in hosts:
        slide_id = add_slide(host.jobs.store, 0.5)
        assert host.slides() == [slide_id]
        assert host.index.stored("local").slides == 1
    assert len(hosts[0].slides()) == 1
    for host in hosts:
        host.close()


def _upload(length: int) -> Upload:
    now = datetime.now(UTC)
    fields = {"id": new_id(), "tenant": "local", "length": length, "state": "uploading", "filename": "a.tif"}
    return Upload.model_validate(fields | {"created_at": now, "expires_at": now.replace(year=now.year + 1)})
