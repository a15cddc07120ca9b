"""Copies of sets on a host: whole or absent, made once, never more than the cap, never gone under who reads them."""

import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from storages import MakeStorage

from workers.core.errors.jobs import CacheTooSmall
from workers.core.storage.base import Key, Storage, StorageSilent
from workers.core.storage.commits import Commits, Entry
from workers.core.storage.copies import Copies
from workers.core.storage.memory import MemoryStorage

FILES = {"original.mrxs": b"index", "original/Data0000.dat": b"d" * 95}
SIZE = 100


def commit(storage: Storage, name: str, token: int = 1, files: dict[str, bytes] | None = None) -> Commits:
    commits = Commits(storage, Key(f"slides/{name}/bytes"))
    entries = {}
    for path, content in (files or FILES).items():
        entries[path] = Entry(size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        commits.stage(token, path, content, entries[path])
    commits.commit(token, entries)
    return commits


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def left(folder: Path) -> set[str]:
    """What is in the folder of copies beside locks."""
    return {path.name for path in folder.iterdir() if not path.name.startswith((".lock-", ".room"))}


def use(copies: Copies, storage: Storage, *names: str) -> None:
    for name in names:
        with copies.held(name, Commits(storage, Key(f"slides/{name}/bytes"))):
            pass


class Counting(MemoryStorage):
    """Counts what is read, and calls somebody before."""

    def __init__(self, before: Callable[[Key], None] = lambda _: None) -> None:
        super().__init__()
        self.read: list[Key] = []
        self.before = before

    def range(self, key: Key, start: int, stop: int) -> bytes:
        self.read.append(key)
        self.before(key)
        return super().range(key, start, stop)


def test_a_copy_is_the_set_byte_for_byte(make_storage: MakeStorage, tmp_path: Path) -> None:
    storage, copies = make_storage(), Copies(tmp_path / "copies")
    commits = commit(storage, "one")
    with copies.held("one", commits) as folder:
        assert content(folder) == FILES
        assert folder == tmp_path / "copies" / "one"
    assert copies.names() == ["one"]
    assert left(tmp_path / "copies") == {"one"}


def test_what_is_there_is_not_fetched_again_and_what_nobody_has_stored_is_not_there(tmp_path: Path) -> None:
    storage, copies = Counting(), Copies(tmp_path)
    commit(storage, "one")
    use(copies, storage, "one", "one")
    assert len(storage.read) == len(FILES)
    with pytest.raises(FileNotFoundError):
        use(copies, storage, "another")
    assert left(tmp_path) == {"one"}


@pytest.mark.parametrize("spoiled", [b"d" * 94 + b"e", b"d" * 94, None])
def test_what_is_not_what_was_stored_leaves_nothing(tmp_path: Path, spoiled: bytes | None) -> None:
    storage, copies = MemoryStorage(), Copies(tmp_path)
    commits = commit(storage, "one")
    key = commits.key(1, "original/Data0000.dat")
    if spoiled is None:
        storage.delete(key)
    else:
        storage.put(key, spoiled)
    with pytest.raises((StorageSilent, ValueError)), copies.held("one", commits):
        pass
    assert left(tmp_path) == set()


def test_many_who_need_one_at_once_fetch_it_once(tmp_path: Path) -> None:
    storage = Counting(lambda _key: time.sleep(0.02))
    commits, seen = commit(storage, "one"), []

    def read() -> None:
        with Copies(tmp_path).held("one", commits) as folder:
            seen.append(content(folder))

    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [FILES] * 6
    assert len(storage.read) == len(FILES)


def test_the_longest_unused_goes_first_and_never_one_that_is_in_use(tmp_path: Path) -> None:
    storage, copies = MemoryStorage(), Copies(tmp_path, 3 * SIZE)
    for name in ("a", "b", "c", "d", "e"):
        commit(storage, name)
    use(copies, storage, "a", "b", "c", "a")
    assert copies.names() == ["b", "c", "a"]
    use(copies, storage, "d")
    assert copies.names() == ["c", "a", "d"]
    with copies.held("c", commit(storage, "c", 2)):
        use(Copies(tmp_path, 3 * SIZE), storage, "e")
        assert set(copies.names()) == {"c", "d", "e"}
    assert left(tmp_path) == {"c", "d", "e"}


def test_who_finds_all_in_use_waits_until_there_is_room(tmp_path: Path) -> None:
    storage, copies = MemoryStorage(), Copies(tmp_path, SIZE)
    first, second = commit(storage, "a"), commit(storage, "b")
    asked = threading.Event()

    class Enough(Exception):
        pass

    def enough() -> None:
        raise Enough

    with copies.held("a", first):
        with pytest.raises(Enough), copies.held("b", second, enough):
            pass
        thread = threading.Thread(target=lambda: use_with(copies, second, asked.set))
        thread.start()
        assert asked.wait(20)
        assert copies.names() == ["a"]
    thread.join()
    assert copies.names() == ["b"]


def use_with(copies: Copies, commits: Commits, check: Callable[[], None]) -> None:
    with copies.held("b", commits, check):
        pass


def test_one_that_is_larger_than_the_cap_is_refused_with_both_numbers(tmp_path: Path) -> None:
    storage = MemoryStorage()
    commits = commit(storage, "one")
    with pytest.raises(CacheTooSmall) as caught, Copies(tmp_path, SIZE - 1).held("one", commits):
        pass
    assert caught.value.value == "100 bytes"
    assert "LDIFFUSION_SLIDE_CACHE" in (caught.value.accepted or "")
    assert str(SIZE - 1) in (caught.value.accepted or "")
    with Copies(tmp_path, SIZE).held("one", commits):
        pass


def test_what_dead_processes_left_is_removed_and_takes_no_room(tmp_path: Path) -> None:
    storage = MemoryStorage()
    commit(storage, "a")
    for name in (f".making-a-{SIZE}", f".making-b-{SIZE}", ".gone-1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "original.svs").write_bytes(b"half")
    use(Copies(tmp_path, SIZE), storage, "a")
    assert left(tmp_path) == {"a"}


def test_the_room_of_one_under_way_is_taken(tmp_path: Path) -> None:
    storage, copies = MemoryStorage(), Copies(tmp_path, 2 * SIZE)
    commit(storage, "a")
    commit(storage, "b")
    use(copies, storage, "a")
    (tmp_path / f".making-z-{SIZE}").mkdir()
    lock = os.open(tmp_path / ".lock-z", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)  # as whoever makes it
    try:
        use(copies, storage, "b")
    finally:
        os.close(lock)
    assert copies.names() == ["b"]


def test_a_set_that_is_replaced_while_it_is_copied_is_copied_as_it_is_then(tmp_path: Path) -> None:
    later = {"original.mrxs": b"another", "original/Data0000.dat": b"e"}

    def replace(key: Key) -> None:
        if key.endswith("Data0000.dat") and len(storage.read) == len(FILES):
            commit(storage, "one", 2, later)

    storage = Counting(replace)
    with Copies(tmp_path).held("one", commit(storage, "one")) as folder:
        assert content(folder) == later


def test_a_copy_is_dropped_unless_somebody_uses_it(tmp_path: Path) -> None:
    storage, copies = MemoryStorage(), Copies(tmp_path / "copies")
    assert copies.names() == []
    assert copies.drop("one")
    with copies.held("one", commit(storage, "one")) as folder:
        assert not copies.drop("one")
        assert content(folder) == FILES
    assert copies.drop("one")
    assert left(tmp_path / "copies") == set()
