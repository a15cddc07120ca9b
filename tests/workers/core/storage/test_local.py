"""A folder as a storage: durable before it is said, nothing half-made is listed, a key is no folder."""

import os
import threading
from pathlib import Path

import pytest

from workers.core.storage.base import Key, KeyInvalid, Storage
from workers.core.storage.local import MAKING, LocalStorage
from workers.core.storage.memory import MemoryStorage


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_a_key_that_is_a_folder_of_others_is_refused(kind: str, tmp_path: Path) -> None:
    storage: Storage = LocalStorage(tmp_path) if kind == "local" else MemoryStorage()
    storage.put(Key("a/b"), b"1")
    for key in ("a", "a/b/c", "a/b/c/d"):
        with pytest.raises(KeyInvalid):
            storage.put(Key(key), b"2")
    assert [each.key for each in storage.walk()] == ["a/b"]
    storage.delete(Key("a/b"))
    storage.put(Key("a"), b"3")
    assert storage.get(Key("a")) == b"3"


def test_a_file_and_all_its_folders_are_durable_before_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(Path(f"/proc/self/fd/{file}").readlink()))
    LocalStorage(tmp_path).put(Key("jobs/a/b"), b"1")
    names = [path.relative_to(tmp_path).as_posix() for path in synced]
    assert names[0].startswith(MAKING)
    assert names[1:] == [".", "jobs", "jobs/a"]


def test_a_put_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = LocalStorage(tmp_path)
    storage.put(Key("a"), b"before")

    def full(_file: int) -> None:
        raise OSError(28, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="full"):
        storage.put(Key("a"), b"after")
    assert storage.get(Key("a")) == b"before"
    assert list((tmp_path / MAKING).iterdir()) == []


def test_what_dead_writers_left_is_not_listed_and_swept(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    (tmp_path / MAKING / "left").write_bytes(b"half")
    (tmp_path / MAKING / "folder").mkdir()
    assert list(storage.walk()) == []
    storage.sweep()
    assert list((tmp_path / MAKING).iterdir()) == []


def test_folders_that_come_and_go_lose_no_object(tmp_path: Path) -> None:
    storage, failed = LocalStorage(tmp_path), list[str]()

    def come_and_go(name: str) -> None:
        for _ in range(100):
            storage.put(Key(f"a/b/{name}"), name.encode())
            if storage.get(Key(f"a/b/{name}")) != name.encode():
                failed.append(name)
            storage.delete(Key(f"a/b/{name}"))

    threads = [threading.Thread(target=come_and_go, args=(name,)) for name in "xyz"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert [path.name for path in tmp_path.iterdir()] == [MAKING]
