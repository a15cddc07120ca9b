"""What the gate lets in by link and how often, and what of it is on record."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from access_fixtures import guarded, key_of, log_of
from asgi_call import bearer, call

from server.access import keys as keys_module
from server.access.keys import Keys


@pytest.fixture(autouse=True)
def fresh_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "CHECK_S", 0.0)


# --- links ------------------------------------------------------------------------------------------------------------


def test_a_link_shows_what_its_tenant_sees_and_only_that_path(tmp_path: Path) -> None:
    app, access = guarded(tmp_path)
    key_of(tmp_path)
    link = access.links.make("lab-a", "/v1/slides/1", 60)
    assert call(app, "GET", link.url, access=access).body == b'"lab-a"'
    answer = call(app, "GET", f"/v1/slides/2?{link.query}", access=access)
    assert (answer.status, answer.code) == (403, "link_invalid")
    assert call(app, "DELETE", link.url, access=access).status == 403
    foreign = access.links.make("lab-a", "/v1/slides/2", 60)  # signed, and still not theirs
    assert call(app, "GET", foreign.url, access=access).status == 404
    tiles = access.links.make("lab-a", "/v1/slides/1/", 60, is_prefix=True)
    assert call(app, "GET", f"/v1/slides/1/file?{tiles.query}", access=access).status == 200
    assert call(app, "GET", f"/v1/slides/2/file?{tiles.query}", access=access).status == 403
    assert call(app, "GET", f"/v1/slides/1/%2e%2e/2/file?{tiles.query}", access=access).status == 403


def test_a_link_ends_with_the_last_key_of_its_tenant(tmp_path: Path) -> None:
    app, access = guarded(tmp_path)
    key, _ = Keys(tmp_path).create("one", "lab-a", ("read",))
    key_of(tmp_path, tenant="lab-b")
    link = access.links.make("lab-a", "/v1/slides/1", 60)
    assert call(app, "GET", link.url, access=access).status == 200
    Keys(tmp_path).revoke(key.id)
    assert call(app, "GET", link.url, access=access).code == "link_invalid"


def test_a_link_reads_and_never_administers(tmp_path: Path) -> None:
    app, access = guarded(tmp_path)
    key_of(tmp_path)
    assert call(app, "GET", access.links.make("lab-a", "/v1/keys", 60).url, access=access).code == "scope_missing"


# --- rates ------------------------------------------------------------------------------------------------------------


def test_who_asks_too_often_is_told_when_to_come_again(tmp_path: Path) -> None:
    app, access = guarded(tmp_path, request_rate_per_s=0.01, request_burst=3)
    token, other = key_of(tmp_path), key_of(tmp_path)
    assert [call(app, "GET", "/v1/slides", bearer(token), access=access).status for _ in range(5)] == [
        200,
        200,
        200,
        429,
        429,
    ]
    answer = call(app, "GET", "/v1/slides", bearer(token), access=access)
    assert answer.code == "rate_limited"
    assert 90 <= int(answer.headers["retry-after"]) <= 100
    assert call(app, "GET", "/v1/slides", bearer(other), access=access).status == 200
    assert [line["code"] for line in log_of(access)] == ["rate_limited"]  # the first of a run, and no flood


def test_guessing_is_counted_by_address_and_locks_out_nobody_with_a_key(tmp_path: Path) -> None:
    app, access = guarded(tmp_path, request_rate_per_s=0.01, request_burst=3)
    token = key_of(tmp_path)
    wrong = [bearer(f"ldk_{'0' * 16}_{number:064x}") for number in range(5)]
    assert [call(app, "GET", "/v1/slides", each, access=access).status for each in wrong] == [401] * 3 + [429] * 2
    assert call(app, "GET", "/v1/slides?signature=0", access=access).status == 429
    assert call(app, "GET", "/v1/slides", wrong[0], access=access, client="192.0.2.9").status == 401
    assert call(app, "GET", "/v1/slides", bearer(token), access=access).status == 200


# --- the record -------------------------------------------------------------------------------------------------------


def test_changes_downloads_and_refusals_are_on_record_and_looking_is_not(tmp_path: Path) -> None:
    app, access = guarded(tmp_path)
    key, token = Keys(tmp_path).create("one", "lab-a", ("read", "submit"))
    call(app, "GET", "/v1/slides", bearer(token), access=access)
    call(app, "POST", "/v1/slides?secret=1", bearer(token), access=access, body=b"x")
    call(app, "GET", "/v1/slides/1/file", bearer(token), access=access)
    call(app, "GET", "/v1/slides/9", bearer(token), access=access)
    call(app, "GET", access.links.make("lab-a", "/v1/slides/1/file", 60).url, access=access)
    call(app, "GET", "/v1/slides", access=access, client="192.0.2.7")
    call(app, "DELETE", "/v1/slides/1", bearer(token), access=access, fails=ZeroDivisionError)
    lines = log_of(access)
    assert [(line["action"], line["path"], line["status"]) for line in lines] == [
        ("change", "/v1/slides", 200),
        ("download", "/v1/slides/1/file", 200),
        ("download", "/v1/slides/1/file", 200),
        ("refusal", "/v1/slides", 401),
        ("change", "/v1/slides/1", 500),
    ]
    assert (lines[0]["tenant"], lines[0]["key_id"], lines[0]["by"]) == ("lab-a", key.id, "key")
    assert (lines[2]["tenant"], lines[2]["by"]) == ("lab-a", "link")
    assert lines[3]["remote"] == "192.0.2.7"
    assert token.rpartition("_")[2] not in json.dumps(lines)
    assert "secret" not in json.dumps(lines)
    assert access.audit.verify().lines == 5


def test_the_record_is_made_before_the_answer_leaves(tmp_path: Path) -> None:
    app, access = guarded(tmp_path)
    known: list[int] = []

    async def send(message: dict[str, object]) -> None:
        known.append(len(log_of(access)))

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope: dict[str, Any] = {"type": "http", "http_version": "1.1", "method": "POST", "path": "/v1/slides"}
    scope |= {"query_string": b"", "headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 1)}
    scope["state"] = {"access": access}
    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    assert known[0] == 1
