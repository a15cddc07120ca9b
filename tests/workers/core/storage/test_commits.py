"""A set of objects is seen whole or not at all, whoever dies, and the late writer of two is seen by nobody."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from storages import MakeStorage

from workers.core.storage.base import Key, Storage, Stored
from workers.core.storage.commits import Commits, Entry, Fenced, entry_of
from workers.core.storage.memory import MemoryStorage

PREFIX = Key("jobs/0123/results")
NAMES = ("overlay.ome.tif", "result.json", "labels/0.0")
Files = dict[str, bytes]


def entry(content: bytes) -> Entry:
    return Entry(size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def publish(commits: Commits, token: int, files: Files) -> None:
    for name, content in files.items():
        commits.stage(token, name, content, entry(content))
    commits.commit(token, {name: entry(content) for name, content in files.items()})


def seen(commits: Commits) -> Files | None:
    """Read as a reader does: what the manifest names, whose sizes and digests must hold."""
    manifest = commits.current()
    if manifest is None:
        return None
    files = {name: commits.storage.get(commits.key(manifest.token, name)) for name in manifest.files}
    assert {name: entry(content) for name, content in files.items()} == manifest.files
    return files


class Watched(Storage):
    """A storage that calls somebody before each request that changes it."""

    def __init__(self, inner: Storage, before: Callable[[str, Key], None]) -> None:
        self.inner = inner
        self.before = before

    def put(self, key: Key, data: bytes | Path) -> Stored:
        self.before("put", key)
        return self.inner.put(key, data)

    def delete(self, key: Key) -> None:
        self.before("delete", key)
        self.inner.delete(key)

    def delete_prefix(self, prefix: Key) -> None:
        self.before("delete", prefix)
        self.inner.delete_prefix(prefix)

    def get(self, key: Key) -> bytes:
        return self.inner.get(key)

    def range(self, key: Key, start: int, stop: int) -> bytes:
        return self.inner.range(key, start, stop)

    def head(self, key: Key) -> Stored:
        return self.inner.head(key)

    def list(self, prefix: Key | None = None, after: Key | None = None, limit: int = 1000) -> list[Stored]:
        return self.inner.list(prefix, after, limit)


OLD = {name: b"old " + name.encode() for name in NAMES}
NEW = {name: b"new and longer " + name.encode() for name in NAMES}


def test_whoever_dies_at_whatever_request_leaves_the_old_set_or_the_new_one() -> None:
    outcomes = []
    for deaths in range(100):
        inner, left = MemoryStorage(), [deaths]
        publish(Commits(inner, PREFIX), 7, OLD)

        def die(_what: str, _key: Key, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise ConnectionError("killed")

        try:
            publish(Commits(Watched(inner, die), PREFIX), 8, NEW)
        except ConnectionError:
            outcomes.append(seen(Commits(inner, PREFIX)))
        else:
            break
        publish(Commits(inner, PREFIX), 9, OLD)  # whoever comes next
        assert seen(Commits(inner, PREFIX)) == OLD
        assert len(list(inner.walk())) == len(OLD) + 1
    assert outcomes[:4] == [OLD] * 4
    assert set(map(str, outcomes[4:])) == {str(NEW)}
    assert len(outcomes) > 6


@pytest.mark.parametrize("at", ["files", "commits"])
def test_a_writer_that_was_overtaken_between_any_two_requests_is_told_and_not_seen(at: str) -> None:
    """The newer one comes, commits and is done while the request of the older one is on its way."""
    inner, is_over = MemoryStorage(), list[bool]()

    def overtake(what: str, key: Key) -> None:
        if what == "put" and f"/{at}/" in key and not is_over:
            is_over.append(True)
            publish(Commits(inner, PREFIX), 8, NEW)

    with pytest.raises(Fenced):
        publish(Commits(Watched(inner, overtake), PREFIX), 7, OLD)
    assert is_over
    assert seen(Commits(inner, PREFIX)) == NEW
    assert len(list(inner.walk())) == len(NEW) + 1, "the late writer removes what it wrote"


def test_a_manifest_of_a_late_writer_that_died_is_not_seen_and_swept(storage: Storage) -> None:
    commits = Commits(storage, PREFIX)
    publish(commits, 8, NEW)
    for name, content in OLD.items():
        commits.stage(7, name, content, entry(content))
    late = Commits(MemoryStorage(), PREFIX)
    publish(late, 7, OLD)
    (manifest,) = (each.key for each in late.storage.walk(PREFIX / "commits"))
    storage.put(manifest, late.storage.get(manifest))  # its request arrived after all
    assert seen(commits) == NEW
    assert len(commits.stale()) == len(OLD) + 1
    assert commits.sweep() == len(OLD) + 1
    assert commits.stale() == []
    assert seen(commits) == NEW
    commits.remove()
    assert list(storage.walk()) == []
    assert seen(commits) is None


def test_what_changes_while_it_is_staged_is_not_committed(storage: Storage, tmp_path: Path) -> None:
    path = tmp_path / "changing"
    path.write_bytes(b"as it was")
    known = entry_of(path)
    path.write_bytes(b"and longer now")
    with pytest.raises(OSError, match="changes"):
        Commits(storage, PREFIX).stage(1, "result.json", path, known)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("stage"), st.integers(0, 3), st.sampled_from(NAMES), st.binary(max_size=20)),
        st.tuples(st.sampled_from(["commit", "crash"]), st.integers(0, 3), st.just(""), st.just(b"")),
        st.tuples(st.just("sweep"), st.just(0), st.just(""), st.just(b"")),
    ),
    max_size=20,
)


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_readers_see_what_the_newest_committed_whatever_four_writers_do(make_storage: MakeStorage, steps: Any) -> None:
    """Writers are known by places; one that crashed or committed is followed by one with the next token."""
    commits = Commits(make_storage(), PREFIX)
    tokens, staged = [1, 2, 3, 4], [dict[str, bytes]() for _ in range(4)]
    newest, expected = 0, None
    for step, place, name, content in steps:
        token = tokens[place]
        if step == "stage":
            commits.stage(token, name, content, entry(content))
            staged[place][name] = content
        elif step == "sweep":
            commits.sweep()
        else:
            if step == "commit":
                told = {each: entry(kept) for each, kept in staged[place].items()}
                if token < newest:
                    with pytest.raises(Fenced):
                        commits.commit(token, told)
                else:
                    commits.commit(token, told)
                    newest, expected = token, staged[place]
            tokens[place], staged[place] = max(tokens) + 1, {}
        assert seen(commits) == expected
