"""The file of corrections: what was acknowledged is there, what was cut off is not, and one comes after the other."""

import errno
import os
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from workers.core.corrections import log
from workers.core.corrections.schemas import Author, Revision, StoredChange
from workers.core.errors.base import DiskFull, JobNotFound, StorageFault
from workers.core.errors.review import CorrectionsChanged, CorrectionsFull

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def revision(known: tuple[Revision, ...], name: str = "anna") -> Revision:
    change = StoredChange(action="add", object=f"{len(known)}", class_index=1)
    return Revision(revision=len(known) + 1, at=NOW, author=Author(name=name), changes=(change,))


def test_revisions_come_back_as_they_were_written(tmp_path: Path) -> None:
    assert (log.latest_revision(tmp_path), log.read_revisions(tmp_path)) == (0, ())
    size = 0
    for number in range(3):
        revisions, grown = log.append(tmp_path, number, revision)
        size += grown
        assert len(revisions) == number + 1
    assert log.read_revisions(tmp_path) == revisions
    assert log.latest_revision(tmp_path) == 3
    assert (tmp_path / log.FILE).stat().st_size == size


@pytest.mark.parametrize("based_on", [0, 2, 9])
def test_who_has_not_seen_the_latest_is_refused(tmp_path: Path, based_on: int) -> None:
    log.append(tmp_path, 0, revision)
    before = (tmp_path / log.FILE).read_bytes()
    with pytest.raises(CorrectionsChanged, match="not those") as caught:
        log.append(tmp_path, based_on, revision)
    assert (caught.value.value, caught.value.accepted) == (based_on, "revision 1")
    assert (tmp_path / log.FILE).read_bytes() == before


def test_every_cut_leaves_what_was_acknowledged(tmp_path: Path) -> None:
    """As a death may: the file may end anywhere within the last line."""
    log.append(tmp_path, 0, revision)
    first = (tmp_path / log.FILE).stat().st_size
    log.append(tmp_path, 1, revision)
    whole = (tmp_path / log.FILE).read_bytes()
    for end in range(first, len(whole)):
        (tmp_path / log.FILE).write_bytes(whole[:end])
        assert len(log.read_revisions(tmp_path)) == log.latest_revision(tmp_path) == 1
        assert log.torn_bytes(tmp_path) == end - first
        log.append(tmp_path, 1, revision)
        assert (tmp_path / log.FILE).read_bytes() == whole
    (tmp_path / log.FILE).write_bytes(whole[:-1])
    log.cut_torn(tmp_path)
    assert (tmp_path / log.FILE).read_bytes() == whole[:first]


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log.append(tmp_path, 0, revision)
    before, write = (tmp_path / log.FILE).read_bytes(), os.write

    def full(descriptor: int, content: bytes) -> int:
        if len(content) < 40:
            raise OSError(errno.ENOSPC, "made")
        return write(descriptor, content[:30])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(DiskFull):
        log.append(tmp_path, 1, revision)
    assert (tmp_path / log.FILE).read_bytes() == before


def test_what_is_made_and_fails_changes_nothing(tmp_path: Path) -> None:
    def fails(_known: tuple[Revision, ...]) -> Revision:
        raise KeyError

    with pytest.raises(KeyError):
        log.append(tmp_path, 0, fails)
    assert log.latest_revision(tmp_path) == 0
    with pytest.raises(JobNotFound):
        log.append(tmp_path / "gone", 0, revision)


def test_there_is_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log.append(tmp_path, 0, revision)
    monkeypatch.setattr(log, "FILE_MAX_BYTES", (tmp_path / log.FILE).stat().st_size + 10)
    with pytest.raises(CorrectionsFull):
        log.append(tmp_path, 1, revision)
    assert log.latest_revision(tmp_path) == 1


@pytest.mark.parametrize("damaged", [b"{}\n", b'{"revision":2}\n', b"\xff\n"])
def test_a_damaged_line_is_told(tmp_path: Path, damaged: bytes) -> None:
    log.append(tmp_path, 0, revision)
    (tmp_path / log.FILE).write_bytes(damaged + (tmp_path / log.FILE).read_bytes())
    with pytest.raises(StorageFault):
        log.read_revisions(tmp_path)
    lost = (tmp_path / log.FILE).read_bytes().partition(b"\n")[2].replace(b'"revision":1', b'"revision":2')
    (tmp_path / log.FILE).write_bytes(lost)
    with pytest.raises(StorageFault, match="missing"):
        log.read_revisions(tmp_path)


def test_many_at_once_come_one_after_the_other(tmp_path: Path) -> None:
    def corrects(name: str) -> None:
        for _ in range(10):
            while True:
                try:
                    log.append(tmp_path, log.latest_revision(tmp_path), lambda known: revision(known, name))
                    break
                except CorrectionsChanged:
                    continue

    threads = [threading.Thread(target=corrects, args=(name,)) for name in ("anna", "ben", "chris")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    revisions = log.read_revisions(tmp_path)
    assert [each.revision for each in revisions] == list(range(1, 31))
    assert {name: sum(each.author.name == name for each in revisions) for name in ("anna", "ben", "chris")} == {
        "anna": 10, "ben": 10, "chris": 10,
    }  # fmt: skip
