"""What the store acknowledges is whole and on disk; what it was not told to keep leaves nothing."""

import errno
import os
import shutil
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.errors.base import DiskFull, JobNotFound, LDiffusionError, ResultNotReady, SlideNotFound
from workers.core.schemas import JobRequest
from workers.core.slide_schemas import SlideGeometry, SlideInfo, SlideLevel
from workers.core.storage.files import atomic_write, write_json
from workers.core.store import Store, new_id

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data")


def info(slide_id: str, created_at: datetime = NOW) -> SlideInfo:
    return SlideInfo(
        id=slide_id,
        filename="mine.svs",
        size_bytes=3,
        sha256="0" * 64,
        vendor="aperio",
        backend="openslide",
        geometry=SlideGeometry(l0_width=9, l0_height=8, levels=(SlideLevel(width=9, height=8, downsample=1),)),
        created_at=created_at,
    )


def put(store: Store, created_at: datetime = NOW) -> str:
    slide_id = store.new_id()
    with store.incoming() as folder:
        (folder / "original.svs").write_bytes(b"abc")
        store.commit_slide(info(slide_id, created_at), folder)
    return slide_id


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_committed_slide_is_there(store: Store) -> None:
    slide_id = put(store)
    assert store.slide_file(slide_id).read_bytes() == b"abc"
    assert store.slide_file(slide_id).name == "original.svs"
    assert store.read_slide(slide_id) == info(slide_id)
    assert files_below(store.root) == [f"slides/{slide_id}/original.svs", f"slides/{slide_id}/slide.json"]
    assert Store(store.root).read_slide(slide_id) == info(slide_id)


def test_slides_are_listed_the_newest_first(store: Store) -> None:
    ids = [put(store, NOW + timedelta(hours=hour)) for hour in (2, 0, 1)]
    (store.root / "slides" / "notes").mkdir()
    assert [slide.id for slide in store.list_slides()] == [ids[0], ids[2], ids[1]]


def test_an_upload_that_is_not_committed_leaves_nothing(store: Store) -> None:
    def broken_upload() -> None:
        with store.incoming() as folder:
            (folder / "original.svs").write_bytes(b"half")
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        broken_upload()
    assert files_below(store.root) == []
    assert list((store.root / "incoming").iterdir()) == []


def test_uploads_do_not_meet(store: Store) -> None:
    with store.incoming() as first, store.incoming() as second:
        assert first != second


def test_what_a_dead_process_left_is_swept(store: Store) -> None:
    slide_id = put(store)
    for place in ("incoming", "trash"):
        left = store.root / place / new_id()
        left.mkdir()
        (left / "original.svs").write_bytes(b"half")
    assert store.sweep_incoming() == 2
    assert files_below(store.root) == [f"slides/{slide_id}/original.svs", f"slides/{slide_id}/slide.json"]


def test_a_deleted_slide_is_gone(store: Store) -> None:
    slide_id = put(store)
    store.delete_slide(slide_id)
    assert files_below(store.root) == []
    for ask in (store.read_slide, store.slide_file, store.delete_slide):
        with pytest.raises(SlideNotFound):
            ask(slide_id)


def test_a_deletion_that_is_cut_short_shows_no_half_slide(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    slide_id = put(store)
    monkeypatch.setattr(shutil, "rmtree", lambda *args, **kwargs: None)  # as if the process died before it
    store.delete_slide(slide_id)
    assert store.list_slides() == []
    with pytest.raises(SlideNotFound):
        store.read_slide(slide_id)
    monkeypatch.undo()
    assert store.sweep_incoming() == 1
    assert files_below(store.root) == []


BAD_IDS = ["", ".", "..", "../slides", "0" * 31, "0" * 33, "G" * 32, "A" * 32, "0" * 31 + "\n", "0" * 32 + "\n", "/etc"]


@pytest.mark.parametrize("bad", BAD_IDS)
def test_what_is_no_id_never_becomes_a_path(store: Store, bad: str) -> None:
    for ask in (store.slide_dir, store.slide_file, store.read_slide, store.delete_slide):
        with pytest.raises(SlideNotFound):
            ask(bad)
    for ask_job in (store.job_dir, store.read_plan, store.read_result, store.read_request, store.delete_job):
        with pytest.raises(JobNotFound):
            ask_job(bad)


@given(st.text(max_size=40))
def test_no_text_leaves_the_folder(text: str) -> None:
    store = Store.__new__(Store)
    store._slides = store._jobs = Path("/data/slides")
    for place in (store.slide_dir, store.job_dir):
        try:
            assert place(text).parent == Path("/data/slides")
        except LDiffusionError:
            continue
        assert len(text) == 32


def test_ids_are_fresh(store: Store) -> None:
    ids = {store.new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(store.slide_dir(slide_id).name == slide_id for slide_id in ids)


def test_a_job_from_request_to_deletion(store: Store) -> None:
    job_id, request = new_id(), JobRequest(slide_id=new_id(), mpp=0.5, region_px=512)
    with pytest.raises(JobNotFound):
        store.read_plan(job_id)
    store.save_request(job_id, request, NOW)
    stored = store.read_request(job_id)
    assert (stored.id, stored.request, stored.created_at) == (job_id, request, NOW)
    assert store.list_jobs() == [job_id]
    for ask in (store.read_plan, store.read_result):
        with pytest.raises(ResultNotReady):
            ask(job_id)
    store.delete_job(job_id)
    assert store.list_jobs() == []
    assert files_below(store.root) == []
    for ask_again in (store.read_request, store.delete_job):
        with pytest.raises(JobNotFound):
            ask_again(job_id)


def killed_at(call: Callable[[], object], change: int) -> bool:
    """Call in a child that is killed right before its n-th change of a file system; say whether there was one."""
    child = os.fork()
    if child == 0:
        left = [change]

        def hear(event: str, args: tuple[Any, ...]) -> None:
            is_change = event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir") or (
                event == "open" and isinstance(args[2], int) and args[2] & os.O_CREAT
            )
            left[0] -= is_change
            if is_change and left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hear)
        try:
            call()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.process
def test_a_gateway_that_dies_at_any_step_of_a_new_job_leaves_it_whole_or_not_at_all(store: Store) -> None:
    request = JobRequest(slide_id=new_id())
    found: list[bool] = []
    while True:
        job_id = new_id()
        was_killed = killed_at(lambda: store.save_request(job_id, request, NOW), len(found))  # noqa: B023
        found.append(job_id in store.list_jobs())
        if found[-1]:
            assert store.read_request(job_id).request == request
            store.delete_job(job_id)
        store.sweep_incoming()
        assert list((store.root / "jobs").iterdir()) == []
        if not was_killed:
            break
    assert found == sorted(found)
    assert len(found) > 4, "a folder, a file, its name, the folder's name"
    assert found[-1]


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "labels.ome.tif"
    path.write_bytes(b"old")
    with atomic_write(path) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.endswith("labels.ome.tif")
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"

    def broken_write() -> None:
        with atomic_write(path) as temporary:
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_write()
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["labels.ome.tif"]


def record_durability(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Write down, in order, which files and folders are synced and what is renamed."""
    events: list[str] = []
    fsync, replace, rename = os.fsync, Path.replace, Path.rename

    def watched_fsync(descriptor: int) -> None:
        events.append(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink().name.rsplit('.', 2)[-2:]}")
        fsync(descriptor)

    def watched(name: str, call: Callable[..., Path]) -> Callable[..., Path]:
        def moved(self: Path, target: Path) -> Path:
            events.append(f"{name} {target.name}")
            return call(self, target)

        return moved

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched("rename", replace))
    monkeypatch.setattr(Path, "rename", watched("rename", rename))
    return events


def test_bytes_are_on_disk_before_the_name_and_the_name_before_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    events = record_durability(monkeypatch)
    write_json(folder / "job.json", JobRequest(slide_id="x"))
    assert events == ["fsync ['job', 'json']", "rename job.json", "fsync ['folder']"]


def test_a_slide_is_durable_when_it_is_acknowledged(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    events = record_durability(monkeypatch)
    slide_id = put(store)
    assert events[-2:] == [f"rename {slide_id}", "fsync ['slides']"]
    assert events[0] == "fsync ['slide', 'json']"


def test_a_job_is_durable_when_it_is_acknowledged(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    events, job_id = record_durability(monkeypatch), new_id()
    assert store.save_request(job_id, JobRequest(slide_id="x"), NOW)
    assert events[0] == "fsync ['job', 'json']"
    assert events[-2:] == [f"rename {job_id}", "fsync ['jobs']"]
    assert not store.save_request(job_id, JobRequest(slide_id="y"), NOW), "it was there before"
    assert store.read_request(job_id).request.slide_id == "y"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_has_its_own_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def full(*args: Any) -> None:
        raise OSError(number, "no room")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull):
        write_json(tmp_path / "job.json", JobRequest(slide_id="x"))
    assert list(tmp_path.iterdir()) == []


def test_another_fault_of_the_disk_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_json(tmp_path / "absent" / "job.json", JobRequest(slide_id="x"))
