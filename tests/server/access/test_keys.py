"""API keys: nothing that opens a door is on the disk, and a running gateway sees changes without reading each time."""

import asyncio
import hashlib
import hmac
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from server.access import keys as keys_module
from server.access.audit import AuditLog
from server.access.keys import KeyRing, Keys, KeySet
from server.access.principals import SCOPES, Principal
from server.cli.main import main
from workers.core.errors.access import ScopeMissing, Unauthorized
from workers.core.errors.base import LDiffusionError, RequestInvalid, Unavailable

NOW = datetime.now(UTC)
TOKEN = re.compile(r"ldk_[0-9a-f]{16}_[0-9a-f]{64}")


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


def refused(keys: Keys, token: str, now: datetime = NOW) -> str:
    with pytest.raises(Unauthorized) as caught:
        keys.read().find(token, now)
    return caught.value.message


# --- what is on the disk ----------------------------------------------------------------------------------------------


def test_a_key_opens_its_tenant_with_its_scopes(keys: Keys) -> None:
    key, token = keys.create("viewer", "lab-a", ("read",))
    assert TOKEN.fullmatch(token)
    assert keys.read().find(token, NOW) == Principal("lab-a", frozenset({"read"}), "key", key.id)


def test_the_file_is_private_and_holds_no_secret(keys: Keys) -> None:
    (_, token), (_, other) = keys.create("one", "a", ("read",)), keys.create("two", "b", ("submit",))
    text = keys.path.read_text()
    assert keys.path.stat().st_mode & 0o777 == 0o600
    assert token.rpartition("_")[2] not in text
    assert other.rpartition("_")[2] not in text
    assert [entry["sha256"] for entry in json.loads(text)["keys"]] == [
        hashlib.sha256(each.encode()).hexdigest() for each in (token, other)
    ]
    assert {path.name for path in keys.path.parent.iterdir()} == {"keys.json", "keys.lock"}


def test_no_other_user_can_read_the_file_while_it_is_written(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []
    replace = Path.replace

    def watched(path: Path, target: Path) -> Path:
        modes.append(path.stat().st_mode & 0o777)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", watched)
    keys.create("one", "a", ("read",))
    assert modes == [0o600]


WRONG: dict[str, Callable[[str], str]] = {
    "empty": lambda token: "",
    "short": lambda token: token[:-1],
    "long": lambda token: token + "0",
    "altered": lambda token: token[:-1] + ("0" if token[-1] != "0" else "1"),
    "upper case": str.upper,
    "longer id": lambda token: token.replace("ldk_", "ldk_0", 1),
    "other id": lambda token: f"ldk_{'0' * 16}_{token.rpartition('_')[2]}",
    "line end": lambda token: f"{token}\n",
    "its digest": lambda token: hashlib.sha256(token.encode()).hexdigest(),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_text_that_is_not_the_key_opens_nothing(keys: Keys, wrong: str) -> None:
    _, token = keys.create("one", "a", ("read",))
    keys.read().find(token, NOW)
    assert refused(keys, WRONG[wrong](token)) == "The key is not known here."


def test_revoked_and_expired_keys_open_nothing_and_only_their_owner_is_told(keys: Keys) -> None:
    key, token = keys.create("one", "a", ("read",), NOW + timedelta(days=1))
    keys.read().find(token, NOW)
    assert refused(keys, token, NOW + timedelta(days=1)) == "The key has expired."
    keys.revoke(key.id)
    assert refused(keys, token) == "The key was revoked."
    assert refused(keys, f"ldk_{key.id}_{'0' * 64}") == "The key is not known here."
    first = keys.read().by_id[key.id].revoked_at
    keys.revoke(key.id)
    assert keys.read().by_id[key.id].revoked_at == first


def test_digests_are_compared_in_constant_time_also_for_unknown_ids(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, token = keys.create("one", "a", ("read",))
    lengths: list[tuple[int, int]] = []
    compare = hmac.compare_digest

    def watched(one: str, other: str) -> bool:
        lengths.append((len(one), len(other)))
        return compare(one, other)

    monkeypatch.setattr("server.access.keys.hmac.compare_digest", watched)
    held = keys.read()
    held.find(token, NOW)
    for wrong in (token[:-64] + "0" * 64, f"ldk_{'0' * 16}_{'0' * 64}", "nonsense"):
        with pytest.raises(Unauthorized):
            held.find(wrong, NOW)
    assert lengths == [(64, 64)] * 4


def test_a_scope_that_is_missing_is_named_and_none_implies_another() -> None:
    for held in SCOPES:
        principal = Principal("a", frozenset({held}), "key", "k")
        for wanted in SCOPES:
            if wanted == held:
                principal.require(wanted)
                continue
            with pytest.raises(ScopeMissing) as caught:
                principal.require(wanted)
            assert caught.value.accepted == wanted


@pytest.mark.parametrize("tenant", ["", "Lab", "a/b", "../a", "a b", "-a", "a" * 65, "a\n"])
def test_a_tenant_is_a_plain_name(keys: Keys, tenant: str) -> None:
    with pytest.raises(RequestInvalid) as caught:
        keys.create("one", tenant, ("read",))
    assert caught.value.message.startswith("tenant: ")
    assert not keys.path.exists()


@pytest.mark.process
def test_processes_that_make_keys_at_once_lose_none(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from server.access.keys import Keys\n"
        "for number in range(5): Keys(Path(sys.argv[1])).create(str(number), 'a', ('read',))"
    )
    started = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(3)]
    assert [process.wait() for process in started] == [0, 0, 0]
    assert len(Keys(tmp_path).read().by_id) == 15


@pytest.mark.parametrize("content", [b"", b"{", b'{"keys": [{}]}', b"\xff\xfe", b"[]"])
def test_a_file_that_cannot_be_used_is_no_file_without_keys(keys: Keys, content: bytes) -> None:
    keys.path.write_bytes(content)
    with pytest.raises(Unavailable):
        keys.read()
    with pytest.raises(LDiffusionError):
        keys.create("one", "a", ("read",))
    assert keys.path.read_bytes() == content


# --- what a running gateway sees --------------------------------------------------------------------------------------


def test_a_change_is_seen_within_a_second_and_without_a_restart(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    assert keys_module.CHECK_S < 1
    clock = [0.0]
    monkeypatch.setattr("server.access.keys.monotonic", lambda: clock[0])

    async def follow() -> list[int]:
        ring, seen = KeyRing(keys), []
        seen.append(len((await ring.current()).by_id))
        key, token = await asyncio.to_thread(keys.create, "one", "a", ("read",))
        clock[0] += 1
        seen.append(len((await ring.current()).by_id))
        await asyncio.to_thread(keys.revoke, key.id)
        clock[0] += 1
        with pytest.raises(Unauthorized):
            (await ring.current()).find(token, NOW)
        keys.path.unlink()
        clock[0] += 1
        seen.append(len((await ring.current()).by_id))
        return seen

    assert asyncio.run(follow()) == [0, 1, 0]


def test_the_file_is_read_once_for_many_requests_and_never_on_the_event_loop(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys.create("one", "a", ("read",))
    clock, looks, reads = [0.0], list[int](), list[int]()
    monkeypatch.setattr("server.access.keys.monotonic", lambda: clock[0])
    refreshed, read = KeyRing._refreshed, Keys.read

    def look(ring: KeyRing) -> KeySet:
        looks.append(threading.get_ident())
        return refreshed(ring)

    def read_noted(keys: Keys) -> KeySet:
        reads.append(threading.get_ident())
        return read(keys)

    monkeypatch.setattr(KeyRing, "_refreshed", look)
    monkeypatch.setattr(Keys, "read", read_noted)

    async def ask() -> None:
        ring = KeyRing(keys)
        for _ in range(3):
            await asyncio.gather(*(ring.current() for _ in range(50)))
            clock[0] += 1

    asyncio.run(ask())
    assert len(looks) == 3  # one look in each period
    assert len(reads) == 1  # the file did not change
    assert threading.get_ident() not in {*looks, *reads}


def test_a_broken_file_closes_the_ring_until_it_is_mended(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "CHECK_S", 0.0)
    keys.create("one", "a", ("read",))
    whole = keys.path.read_bytes()

    async def follow() -> int:
        ring = KeyRing(keys)
        await ring.current()
        keys.path.write_bytes(b"{")
        for _ in range(2):
            with pytest.raises(Unavailable):
                await ring.current()
        keys.path.write_bytes(whole)
        return len((await ring.current()).by_id)

    assert asyncio.run(follow()) == 1


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_makes_lists_and_revokes(tmp_path: Path) -> None:
    folder = ["--data-dir", str(tmp_path / "new")]
    made = CliRunner().invoke(main, ["keys", "create", "PACS bridge", "--tenant", "lab-a", "--scope", "read", *folder])
    token = made.stdout.strip()
    assert TOKEN.fullmatch(token)  # nothing else on standard output: KEY=$(ldiffusion keys create …) works
    assert token not in made.stderr
    keys = Keys(tmp_path / "new")
    principal = keys.read().find(token, NOW)
    assert (principal.tenant, principal.scopes) == ("lab-a", frozenset({"read"}))
    listed = CliRunner().invoke(main, ["keys", "list", *folder]).output
    assert principal.key_id is not None
    assert all(word in listed for word in (principal.key_id, "lab-a", "read", "usable", "PACS bridge"))
    assert token.rpartition("_")[2] not in listed
    revoked = CliRunner().invoke(main, ["keys", "revoke", principal.key_id, *folder])
    assert revoked.exit_code == 0
    assert refused(keys, token) == "The key was revoked."
    assert "revoked" in CliRunner().invoke(main, ["keys", "list", *folder]).output
    log = "".join(path.read_text() for path in AuditLog(tmp_path / "new", 10**6).files())
    assert ["key_created" in line or "key_revoked" in line for line in log.splitlines()] == [True, True]
    assert token.rpartition("_")[2] not in log


def test_the_command_tells_an_unknown_key_in_one_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["keys", "revoke", "nothing", "--data-dir", str(tmp_path)])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert result.stderr.startswith("error: invalid_request: No key has this id.")
