"""What tenants have on the disk: right after whatever was done with it, and not walked for at each count."""

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from catalogue_fixtures import emptied, without_queue
from finished_jobs import FILES, finished_job
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from job_requests import add_slide
from queue_fixtures import write_result

from server.catalogue import mirror
from server.catalogue.catalogue import Catalogue
from server.catalogue.entries import Stored, batches_of
from workers.core.job_files import SIZE, Ending, count_size, keep_ending, read_size
from workers.core.products import Made, product_path
from workers.core.queue.jobs import Jobs
from workers.core.schemas import JobRequest, StoredRequest
from workers.core.storage.files import bytes_below
from workers.core.store import Store, new_id

TENANTS = ("lab-a", "lab-b")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
REQUEST = JobRequest(slide_id="1" * 32, model="made-model")


def add_job(store: Store, tenant: str, estimated_bytes: int) -> str:
    job_id = new_id()
    store.save_request(job_id, REQUEST, NOW, tenant, estimated_bytes)
    return job_id


def finish(store: Store, job_id: str, size: int) -> None:
    """Let results land, as a worker does: `result.json`, then the number."""
    (store.job_dir(job_id) / "overlay.ome.tif").write_bytes(bytes(size))
    (store.job_dir(job_id) / "result.json").write_text("{}")  # that it is there says enough
    count_size(store, job_id)


def make_product(store: Store, job_id: str, name: str, size: int) -> None:
    """Let a product land, as a worker does: the file, the number, its record."""
    path = product_path(store, job_id, name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes(size))
    count_size(store, job_id)
    store.write_json(path.with_name(f"{name}.json"), Made(name=name, sha256="0" * 64, size_bytes=size, made_at=NOW))


def add_batch(store: Store, tenant: str, size: int) -> Path:
    folder = batches_of(store.root, tenant)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{new_id()}.json"
    path.write_text(json.dumps({"tenant": tenant, "created_at": NOW.isoformat(), "items": "x" * size}))
    return path


def literal(store: Store, tenant: str, estimates: dict[str, int]) -> Stored:
    """What a tenant has, by opening and walking everything."""
    slides = [store.read_slide(path.name) for path in (store.root / "slides").iterdir()]
    sizes = [info.size_bytes for info in slides if info.tenant == tenant]
    jobs = []
    for job_id in store.list_jobs():
        if store.read_request(job_id).tenant == tenant:
            folder = store.job_dir(job_id)
            ended = (folder / "result.json").exists() or (folder / "ended.json").exists()
            unnumbered = (folder / SIZE, *(folder / "products").glob("*.json")) if ended else ()
            own = sum(path.stat().st_size for path in unnumbered if path.exists())
            jobs.append(bytes_below(folder) - own if ended else estimates[job_id])
    batches = [len(path.read_bytes()) for path in batches_of(store.root, tenant).glob("*.json")]
    return Stored(
        slides_bytes=sum(sizes), jobs_bytes=sum(jobs), batches_bytes=sum(batches),
        slides=len(sizes), jobs=len(jobs), batches=len(batches),
    )  # fmt: skip


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["job", "slide", "batch", "finish", "fail", "product", "delete job", "delete batch", "again"]),
        st.sampled_from(TENANTS),
        st.integers(1, 5000),
        st.booleans(),
    ),
    max_size=25,
)


@given(STEPS)
@pytest.mark.slow
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_after_whatever_was_done_it_tells_what_a_walk_finds(
    tmp_path_factory: pytest.TempPathFactory, index_url: str, steps: list[tuple[str, str, int, bool]]
) -> None:
    root = tmp_path_factory.mktemp("data")
    scene = Scene(without_queue(root, catalogue_url=index_url and emptied(index_url)))
    for what, tenant, size, is_looked_at in steps:
        scene.do(what, tenant, size)
        if is_looked_at:  # else several changes come between two looks
            scene.check()
    scene.check()
    assert scene.catalogue.differing() == []
    scene.close()
    shutil.rmtree(root)


class Scene:
    """A data folder, an index that is open as long as it, and what has been done."""

    def __init__(self, jobs: Jobs) -> None:
        self.store, self.catalogue, self.other = jobs.store, Catalogue(jobs), Catalogue(jobs)
        self.estimates: dict[str, int] = {}
        self.running: list[str] = []
        self.succeeded: list[str] = []
        self.batches: list[Path] = []

    def check(self) -> None:
        for tenant in TENANTS:
            seen = self.catalogue.stored(tenant)
            assert seen == literal(self.store, tenant, self.estimates)
            assert self.other.stored(tenant) == seen  # in another gateway

    def close(self) -> None:
        self.catalogue.close()
        self.other.close()

    def do(self, what: str, tenant: str, size: int) -> None:
        if what == "job":
            job_id = add_job(self.store, tenant, size)
            self.estimates[job_id] = size
            self.running.append(job_id)
        elif what == "slide":
            slide_id = add_slide(self.store, 0.5)
            info = self.store.read_slide(slide_id).model_copy(update={"tenant": tenant, "size_bytes": size})
            self.store.write_json(self.store.slide_dir(slide_id) / "slide.json", info)
        elif what == "batch":
            self.batches.append(add_batch(self.store, tenant, size))
        elif what == "delete batch" and self.batches:
            self.batches.pop().unlink()
        elif what in ("finish", "fail") and self.running:
            job_id = self.running.pop(size % len(self.running))
            self.end(what, job_id, size)
        elif self.succeeded:
            self.change(what, self.succeeded[size % len(self.succeeded)], size)

    def end(self, what: str, job_id: str, size: int) -> None:
        if what == "finish":
            finish(self.store, job_id, size)
            self.succeeded.append(job_id)
        else:
            keep_ending(self.store, job_id, Ending(state="failed", finished_at=NOW))

    def change(self, what: str, job_id: str, size: int) -> None:
        if what == "product" and not product_path(self.store, job_id, "features.fgb").exists():
            self.other.expect(job_id, "features.fgb")
            make_product(self.store, job_id, "features.fgb", size)
        elif what in ("delete job", "again"):
            self.succeeded.remove(job_id)
            self.store.delete_job(job_id)
            self.catalogue.forget("job", job_id)
            if what == "again":  # an Idempotency-Key makes it once more, under the same name
                self.store.save_request(job_id, REQUEST, NOW, TENANTS[0], size)
                self.estimates[job_id] = size
                self.running.append(job_id)


def test_what_has_not_changed_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = without_queue(tmp_path)
    monkeypatch.setattr(mirror, "CLOCK_NS", -(10**12))  # whatever changed, changed long ago
    for _ in range(20):
        add_slide(jobs.store, 0.5)
    waiting = add_job(jobs.store, "local", 7)
    catalogue = Catalogue(jobs)
    before = catalogue.stored("local")
    assert (before.slides, before.jobs_bytes) == (20, 7)
    read: list[str] = []
    for owner, name in ((Path, "iterdir"), (Path, "read_bytes"), (Store, "read_request")):
        spy(monkeypatch, owner, name, read)
    assert catalogue.stored("local") == before
    assert [name for name in read if waiting not in name] == []
    catalogue.close()
    assert Catalogue(jobs).stored("local") == before, "nor after a restart"
    assert [name for name in read if waiting not in name] == []


def spy(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, told: list[str]) -> None:
    real: Callable[..., Any] = getattr(owner, name)

    def seen(self: object, *arguments: Any) -> Any:
        told.append(f"{name} {self} {arguments}")
        return real(self, *arguments)

    monkeypatch.setattr(owner, name, seen)


def test_a_product_that_was_asked_for_is_seen_when_it_lands(jobs: Jobs, catalogue: Catalogue) -> None:
    finish(jobs.store, job_id := add_job(jobs.store, "lab-a", 5), 100)
    write_result(jobs, job_id)
    count_size(jobs.store, job_id)
    catalogue.learn("job")
    before = catalogue.stored("lab-a").jobs_bytes
    for name in ("features.fgb", "segmentation.dcm"):
        catalogue.expect(job_id, name)
    make_product(jobs.store, job_id, "features.fgb", 1000)
    catalogue.learn("job")
    assert catalogue.stored("lab-a").jobs_bytes == before + 1000
    make_product(jobs.store, job_id, "segmentation.dcm", 500)  # long after: it is still looked for
    assert catalogue.stored("lab-a").jobs_bytes >= before + 1500


def test_a_number_that_is_missing_is_counted_again_and_kept(tmp_path: Path) -> None:
    jobs = without_queue(tmp_path)
    job_id = finished_job(jobs.store)  # of a version that wrote no number
    whole = bytes_below(jobs.store.job_dir(job_id))
    assert read_size(jobs.store, job_id) is None
    assert Catalogue(jobs).stored("local").jobs_bytes == whole > sum(map(len, FILES.values()))
    assert read_size(jobs.store, job_id) == whole


def test_a_record_that_cannot_be_read_harms_no_count(tmp_path: Path) -> None:
    jobs = without_queue(tmp_path)
    finish(jobs.store, add_job(jobs.store, "lab-a", 5), 100)
    for folder in (tmp_path / "slides", tmp_path / "jobs"):
        (folder / new_id()).mkdir(parents=True)
    bad = add_job(jobs.store, "lab-a", 5)
    (jobs.store.job_dir(bad) / "job.json").write_text("{")
    catalogue = Catalogue(jobs)
    assert catalogue.stored("lab-a").jobs == 1
    (jobs.store.job_dir(bad) / "job.json").write_text(
        StoredRequest(id=bad, tenant="lab-a", created_at=NOW, request=REQUEST, estimated_bytes=5).model_dump_json()
    )
    assert catalogue.stored("lab-a").jobs == 2, "somebody has put it back"
