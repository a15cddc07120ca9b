"""Slides in a storage: there whole or not at all, read on hosts that lack them, gone with their last byte."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from storages import MakeStorage
from stored_slides import info_of

from workers.core.errors.base import SlideNotFound
from workers.core.errors.jobs import CacheTooSmall
from workers.core.slide_schemas import SlideInfo
from workers.core.storage.base import Key, Storage, StorageSilent, Stored
from workers.core.storage.memory import MemoryStorage
from workers.core.store import Store, new_id
from workers.core.stored.slides import (
    publish_record,
    publish_slide,
    remove_stored_slide,
    slide_at_hand,
    withdraw_incoming,
)

SET = {"original.mrxs": b"index", "original/Data0000.dat": b"d" * 5000, "original/Slidedat.ini": b""}


class Failing(MemoryStorage):
    """Takes so many objects and no more, as long as it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.puts: list[Key] = []
        self.takes = 1000

    def put(self, key: Key, data: bytes | Path) -> Stored:
        if self.takes == 0:
            raise StorageSilent("it does not answer")
        self.takes -= 1
        self.puts.append(key)
        return super().put(key, data)


def admitted(store: Store, files: dict[str, bytes]) -> SlideInfo:
    """Do what the admission does with the files of a slide."""
    with incoming(store, files) as folder:
        first = next(iter(files.values()))
        info = info_of(sum(map(len, files.values())), hashlib.sha256(first).hexdigest())
        publish_slide(store, info, folder)
        store.commit_slide(info, folder)
    return info


@contextmanager
def incoming(store: Store, files: dict[str, bytes]) -> Iterator[Path]:
    with store.incoming() as folder:
        for name, content in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
        yield folder


def read(store: Store, slide_id: str) -> dict[str, bytes]:
    """All files of a slide, as a reader finds them beside the first."""
    with slide_at_hand(store, slide_id) as file:
        assert file.name.startswith("original.")
        folder = file.parent
        found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    found.pop("slide.json", None)
    return found


@pytest.fixture
def two(tmp_path: Path, storage: Storage) -> tuple[Store, Store]:
    """Two data folders that share nothing but a storage."""
    return Store(tmp_path / "a", storage), Store(tmp_path / "b", storage)


@pytest.mark.parametrize("files", [{"original.svs": b"one file" * 1000}, SET], ids=["file", "set"])
def test_a_slide_is_read_on_a_host_that_lacks_it(two: tuple[Store, Store], files: dict[str, bytes]) -> None:
    here, there = two
    info = admitted(here, files)
    assert there.read_slide(info.id) == info
    assert read(there, info.id) == read(here, info.id) == files
    assert there.list_slides() == []
    assert not (here.root / "slide-cache").exists()


def test_a_change_of_the_record_is_seen_there_and_sends_no_file_again(tmp_path: Path) -> None:
    storage = Failing()
    here, there = Store(tmp_path / "a", storage), Store(tmp_path / "b", storage)
    info = admitted(here, SET)
    count = len(storage.puts)
    changed = info.model_copy(update={"labels": {"case": "7"}})
    publish_record(here, changed)
    assert there.read_slide(info.id) == changed
    assert len(storage.puts) == count + 1
    publish_slide(here, changed, here.slide_dir(info.id))
    assert len(storage.puts) == count + 2
    publish_slide(here, changed, here.slide_dir(info.id), anew=True)
    assert read(there, info.id) == SET
    assert len(list(storage.walk())) == len(SET) + 2, "the older set is gone"


def test_what_the_storage_does_not_take_to_the_end_is_not_there(tmp_path: Path) -> None:
    storage = Failing()
    here, there = Store(tmp_path / "a", storage), Store(tmp_path / "b", storage)
    for takes in range(len(SET) + 2):
        storage.takes = takes
        with incoming(here, SET) as folder:
            info = info_of(10, "0" * 64)
            with pytest.raises(StorageSilent):
                publish_slide(here, info, folder)
            with pytest.raises(SlideNotFound):
                there.read_slide(info.id)
            if takes <= len(SET):
                assert list(storage.walk(Key("slides"))) == [], "what was staged is taken back"
            storage.takes = 1000
            publish_slide(here, info, folder)
            assert read(there, info.id) == SET
            remove_stored_slide(here, info.id)
            there.copies.drop(info.id)


def test_a_slide_that_is_removed_is_nowhere(two: tuple[Store, Store], storage: Storage) -> None:
    here, there = two
    info, other = admitted(here, SET), admitted(here, SET)
    read(there, info.id)
    remove_stored_slide(there, info.id)
    here.delete_slide(info.id)
    for store in two:
        with pytest.raises(SlideNotFound):
            store.read_slide(info.id)
        with pytest.raises(SlideNotFound):
            read(store, info.id)
    assert there.copies.names() == []
    assert read(there, other.id) == SET
    assert {stored.key.split("/")[1] for stored in storage.walk(Key("slides"))} == {other.id}


def test_a_slide_that_is_larger_than_the_cache_is_refused(tmp_path: Path, storage: Storage) -> None:
    info = admitted(Store(tmp_path / "a", storage), SET)
    with pytest.raises(CacheTooSmall, match="larger than all copies"):
        read(Store(tmp_path / "b", storage, 5004), info.id)


def test_a_storage_that_does_not_answer_is_no_slide_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = MemoryStorage()

    def silent(*_: object) -> None:
        raise StorageSilent("it does not answer")

    monkeypatch.setattr(MemoryStorage, "get", silent)
    with pytest.raises(StorageSilent):
        Store(tmp_path, storage).read_slide(new_id())


def test_without_a_storage_nothing_is_done(tmp_path: Path) -> None:
    here = Store(tmp_path / "a")
    info = admitted(here, SET)
    remove_stored_slide(here, info.id)
    assert read(here, info.id) == SET
    with pytest.raises(SlideNotFound):
        read(here, new_id())
    assert {path.name for path in here.root.iterdir()} == {"slides", "jobs", "incoming", "trash"}


def test_what_a_gateway_that_died_had_stored_of_a_slide_on_its_way_in_is_withdrawn(tmp_path: Path) -> None:
    storage = Failing()
    here = Store(tmp_path, storage)
    kept = admitted(here, SET)
    before = [stored.key for stored in storage.walk()]
    (tmp_path / "incoming" / "no-slide").mkdir()
    with incoming(here, SET) as folder:
        publish_slide(here, info_of(1, "0" * 64).model_copy(update={"id": folder.name}), folder)
        assert [stored.key for stored in storage.walk()] != before
        withdraw_incoming(here)
    assert [stored.key for stored in storage.walk()] == before
    assert read(here, kept.id) == SET


def test_a_storage_that_does_not_answer_keeps_no_gateway_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Store(tmp_path, MemoryStorage())

    def silent(*_: object) -> None:
        raise StorageSilent("it does not answer")

    monkeypatch.setattr(MemoryStorage, "delete", silent)
    with incoming(here, SET):
        withdraw_incoming(here)


def test_in_a_folder_that_is_shared_nothing_is_copied(make_storage: MakeStorage, tmp_path: Path) -> None:
    storage = make_storage()
    info = admitted(Store(tmp_path, storage), SET)
    again = Store(tmp_path, storage)
    with slide_at_hand(again, info.id) as file:
        assert file == tmp_path / "slides" / info.id / "original.mrxs"
    assert again.copies.names() == []
