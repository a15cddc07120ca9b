"""Resumable uploads on the disk: cut off at any step, nothing that was acknowledged is lost, and old ones go."""

import fcntl
import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from server.uploads.records import Part, Upload
from server.uploads.store import UploadStore
from server.uploads.writer import UploadWriter
from workers.core.errors.base import DiskFull, UploadExpired, UploadLocked, UploadNotFound
from workers.core.settings import Settings
from workers.core.store import new_id

PIECES = (b"the first part, ", b"the second, ", b"and the third")
LIFE_S = 1000.0


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def upload_store(tmp_path: Path) -> UploadStore:
    """An empty folder of uploads."""
    return made(tmp_path)


def made(tmp_path: Path, reserve_bytes: int = 0) -> UploadStore:
    settings = Settings(data_dir=tmp_path, upload_expires_s=LIFE_S, disk_reserve_bytes=reserve_bytes, upload_share=1)
    return UploadStore(tmp_path / "uploads", settings)


def upload_of(length: int, **fields: object) -> Upload:
    now = datetime.now(UTC)
    upload = Upload(
        id=new_id(), length=length, filename="a.tif", created_at=now, expires_at=now + timedelta(seconds=LIFE_S)
    )
    return upload.model_copy(update=fields)


def complete_parts(upload_store: UploadStore) -> tuple[Part, ...]:
    parts = []
    for piece in PIECES:
        upload = upload_of(len(piece), offset=len(piece), is_part=True)
        upload_store.create(upload)
        upload_store.data_file(upload.id).write_bytes(piece)
        parts.append(Part(id=upload.id, length=len(piece)))
    return tuple(parts)


def kill_at(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """End the process, so to speak, before the n-th change of a name on the disk from now on."""
    left = itertools.count()

    def wrapped(name: str) -> None:
        real = getattr(Path, name)

        def step(self: Path, target: Path) -> Path:
            if next(left) == steps:
                raise Killed
            result: Path = real(self, target)
            return result

        monkeypatch.setattr(Path, name, step)

    for name in ("rename", "replace"):
        wrapped(name)


@pytest.mark.parametrize("steps", range(9))
def test_parts_of_a_joining_that_was_killed_at_any_step_are_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    upload_store = made(tmp_path)
    parts = complete_parts(upload_store)
    whole = upload_of(41, state="checking", offset=41, parts=parts)
    monkeypatch.setattr(upload_store, "_give_back", lambda folder: None)  # a killed process tidies nothing
    kill_at(monkeypatch, steps)
    killed = False
    try:
        upload_store.create(whole)
        upload_store.join(whole)
    except Killed:
        killed = True
    monkeypatch.undo()
    assert killed

    revived = made(tmp_path)
    revived.recover()
    assert not list((tmp_path / "uploads").glob(".*"))
    try:
        known = revived.read(whole.id)
    except UploadNotFound:  # never said to have been made: the parts are as they were, and can be joined again
        assert [revived.data_file(part.id).read_bytes() for part in parts] == list(PIECES)
        known = whole
        revived.create(known)
    revived.join(known)
    assert revived.complete_file(whole.id).read_bytes() == b"".join(PIECES)


@pytest.mark.parametrize("joined", [1, 2])
def test_joining_goes_on_where_it_was_cut_off(upload_store: UploadStore, joined: int) -> None:
    parts = complete_parts(upload_store)
    whole = upload_of(41, state="checking", offset=41, parts=parts)
    upload_store.create(whole)
    done = upload_store.join(whole)
    assert done.joined == 3
    assert upload_store.complete_file(whole.id).read_bytes() == b"".join(PIECES)
    assert upload_store.join(done) == done

    # Killed after the bytes of a part were copied, and before that was written down.
    again = upload_of(41, state="checking", offset=41, parts=complete_parts(upload_store), joined=joined)
    upload_store.create(again)
    upload_store.data_file(again.id).write_bytes(b"".join(PIECES[:joined]) + PIECES[joined][:5])
    upload_store.join(again)
    assert upload_store.complete_file(again.id).read_bytes() == b"".join(PIECES)


def test_a_part_is_taken_once(upload_store: UploadStore) -> None:
    parts = complete_parts(upload_store)
    upload_store.create(upload_of(16, state="checking", offset=16, parts=parts[:1]))
    with pytest.raises(UploadNotFound):
        upload_store.create(upload_of(28, state="checking", offset=28, parts=(parts[1], parts[0])))
    assert upload_store.data_file(parts[1].id).read_bytes() == PIECES[1]  # given back


def test_bytes_beyond_what_was_acknowledged_are_cut_off(upload_store: UploadStore) -> None:
    upload = upload_of(100, offset=4)
    upload_store.create(upload)
    upload_store.data_file(upload.id).write_bytes(b"II*\0 half of a chunk that nobody synced")
    with UploadWriter(upload_store.data_file(upload.id), 4, 100) as appender:
        appender.write(b"more")
        appender.sync()
    assert upload_store.data_file(upload.id).read_bytes() == b"II*\0more"


def test_two_processes_cannot_add_to_one_upload(upload_store: UploadStore) -> None:
    upload = upload_of(100)
    upload_store.create(upload)
    path = upload_store.data_file(upload.id)
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UploadLocked):
            UploadWriter(path, 0, 100)
    UploadWriter(path, 0, 100).__exit__(None, None, None)  # the lock went with its owner


def test_what_expired_says_so_for_as_long_again(upload_store: UploadStore, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    fresh, old, forgotten, finalizer = (
        upload_of(4, offset=4, expires_at=now + timedelta(seconds=seconds), state=state)
        for seconds, state in ((LIFE_S, "uploading"), (-1, "rejected"), (-LIFE_S - 1, "uploading"), (-9e9, "checking"))
    )
    for upload in (fresh, old, forgotten, finalizer):
        upload_store.create(upload)
    assert set(upload_store.expired()) == {old.id, forgotten.id}
    for upload_id in (fresh.id, old.id, forgotten.id, finalizer.id):
        upload_store.expire(upload_id)
    assert [upload_store.data_file(upload.id).exists() for upload in (fresh, old, forgotten, finalizer)] == [
        *(True, False, False, True)
    ]
    assert {upload.id for upload in upload_store.list_uploads()} == {fresh.id, finalizer.id}
    with pytest.raises(UploadExpired):
        upload_store.read(old.id)
    with pytest.raises(UploadNotFound):
        upload_store.read(forgotten.id)
    assert sorted(path.name for path in (tmp_path / "uploads").iterdir()) == sorted([fresh.id, old.id, finalizer.id])


def test_an_upload_must_leave_room(tmp_path: Path) -> None:
    with pytest.raises(DiskFull):
        made(tmp_path, reserve_bytes=2**60).create(upload_of(4))
    assert list((tmp_path / "uploads").iterdir()) == []


@pytest.mark.parametrize("name", ["", "..", "../slides", "A" * 32, "0" * 31, f".new-{'0' * 32}"])
def test_only_identifiers_become_paths(upload_store: UploadStore, name: str) -> None:
    for act in (upload_store.read, upload_store.remove):
        with pytest.raises(UploadNotFound):
            act(name)


# --- room on the disk -------------------------------------------------------------------------------------------------


class Usage(NamedTuple):
    free: int


class SmallDisk:
    """A disk of so many bytes, with nothing on it but the uploads of a folder."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self.size = size

    def usage(self, _: Path) -> Usage:
        used = sum(path.stat().st_size for path in self.folder.glob("*/data"))
        return Usage(free=self.size - used)


def disk_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> SmallDisk:
    disk = SmallDisk(tmp_path / "uploads", size)
    monkeypatch.setattr("workers.core.disk_room.shutil.disk_usage", disk.usage)
    return disk


def test_what_uploads_under_way_will_still_bring_is_not_promised_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload_store = made(tmp_path, reserve_bytes=10)
    disk_of(tmp_path, monkeypatch, 100)
    first = upload_of(60)
    upload_store.create(first)
    upload_store.data_file(first.id).write_bytes(bytes(40))
    upload_store.save(first.model_copy(update={"offset": 40}))
    with pytest.raises(DiskFull):
        upload_store.create(upload_of(31))
    upload_store.create(upload_of(30))
    with pytest.raises(DiskFull):
        upload_store.create(upload_of(1))
    upload_store.save(first.model_copy(update={"expires_at": datetime.now(UTC) - timedelta(seconds=1)}))
    upload_store.create(upload_of(20))  # what expired brings no more


def test_an_upload_stops_where_others_took_the_room_and_keeps_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.uploads.writer.ROOM_BYTES", 8)
    upload_store = made(tmp_path, reserve_bytes=10)
    disk = disk_of(tmp_path, monkeypatch, 100)
    upload = upload_of(80)
    upload_store.create(upload)
    with UploadWriter(upload_store.data_file(upload.id), 0, 80, reserve_bytes=10) as appender:
        for _ in range(8):
            appender.write(bytes(2))
        disk.size = 26  # 10 are left: not one byte more
        with pytest.raises(DiskFull):
            appender.write(bytes(2))
        assert appender.sync() == 16
    with UploadWriter(upload_store.data_file(upload.id), 16, 80, reserve_bytes=10) as appender:
        with pytest.raises(DiskFull):  # also when each chunk is a small one
            appender.write(bytes(1))
        disk.size = 100
        appender.write(bytes(64))
    assert upload_store.data_file(upload.id).stat().st_size == 80


# --- records that cannot be read --------------------------------------------------------------------------------------


@pytest.mark.parametrize("spoil", ["empty", "newer", "folder", "file"])
def test_a_record_that_cannot_be_read_is_passed_over_and_left_alone(
    upload_store: UploadStore, tmp_path: Path, spoil: str, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = upload_of(4), upload_of(4)
    upload_store.create(good)
    upload_store.create(bad)
    record = tmp_path / "uploads" / bad.id / "info.json"
    if spoil == "newer":
        record.write_text(record.read_text().replace('"uploading"', '"mirrored"'))
    else:
        record.unlink()
    if spoil == "empty":
        record.touch()
    elif spoil == "folder":
        record.mkdir()  # reading it is an error of the system, as of a disk that fails
    elif spoil == "file":
        (record.parent / "data").unlink()
        (record.parent / "parts").rmdir()
        record.parent.rmdir()
        record.parent.write_bytes(b"no folder")
    for _ in range(3):
        assert [upload.id for upload in upload_store.list_uploads()] == [good.id]
        assert upload_store.expired() == []
    upload_store.recover()
    upload_store.create(upload_of(4))
    if spoil != "folder":
        with pytest.raises(UploadNotFound):
            upload_store.owner(bad.id)
    assert record.parent.exists()
    told = [line for line in caplog.messages if bad.id in line]
    assert len(told) == (0 if spoil == "file" else 1)  # once, not at each look
