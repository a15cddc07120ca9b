"""The gate: who gets in, as whom, and how far; every refusal in the one shape and on record."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from access_fixtures import guarded, key_of, log_of, small_app
from asgi_call import Answer, bearer, call
from starlette.types import ASGIApp, Message

from server.access import keys as keys_module
from server.access.exposure import check_exposure, is_loopback
from server.access.gate import Access
from server.access.keys import NO_KEYS, Keys
from server.access.principals import SCOPES, Scope
from server.web.errors import answer_of
from workers.core.errors.access import Forbidden, QuotaExceeded, RateLimited, ScopeMissing, Unauthorized
from workers.core.errors.base import DiskFull, LDiffusionError, RequestInvalid, Unavailable
from workers.core.settings import Settings


@pytest.fixture(autouse=True)
def fresh_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "CHECK_S", 0.0)  # a test does not wait for the next look


def get(app: ASGIApp, access: Access, url: str, token: str) -> Answer:
    return call(app, "GET", url, [*bearer(token), ("x-request-id", "named")], access=access)


# --- open, or not -----------------------------------------------------------------------------------------------------


def test_without_any_key_a_loopback_server_is_open(tmp_path: Path) -> None:
    app, access = guarded(tmp_path)
    answer = call(app, "POST", "/v1/slides", access=access, body=b"x")
    assert (answer.status, answer.body) == (200, b'"local"')
    assert get(app, access, "/v1/keys", "anything").status == 200


def test_with_any_key_even_one_that_opens_nothing_a_key_is_needed(tmp_path: Path) -> None:
    app, access = guarded(tmp_path)
    key_of(tmp_path)
    Keys(tmp_path).revoke(next(iter(Keys(tmp_path).read().by_id)))
    for method, url in (("GET", "/v1/slides"), ("POST", "/v1/slides"), ("GET", "/"), ("GET", "/docs")):
        answer = call(app, method, url, access=access)
        assert (answer.status, answer.code) == (401, "unauthorized")
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert call(app, "GET", "/healthz", access=access).status == 200


def test_a_server_that_others_reach_is_never_open(tmp_path: Path) -> None:
    app, access = guarded(tmp_path, host="0.0.0.0")
    assert call(app, "GET", "/v1/slides", access=access).status == 401
    token = key_of(tmp_path)
    assert get(app, access, "/v1/slides", token).status == 200
    Keys(tmp_path).path.unlink()  # a file that is lost must not open anything
    assert get(app, access, "/v1/slides", token).status == 401


def test_a_file_of_keys_that_cannot_be_used_closes_the_server(tmp_path: Path) -> None:
    app, access = guarded(tmp_path)
    Keys(tmp_path).path.write_text("{")
    answer = call(app, "GET", "/v1/slides", access=access)
    assert (answer.status, answer.code) == (503, "unavailable")
    assert call(app, "GET", "/healthz", access=access).status == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "slides.example", "localhost.example.org", ""])
def test_no_server_listens_to_others_without_a_usable_key(tmp_path: Path, host: str) -> None:
    settings, now = Settings(host=host), datetime.now(UTC)
    keys = Keys(tmp_path)
    with pytest.raises(RequestInvalid) as caught:
        check_exposure(settings, NO_KEYS, now)
    assert "ldiffusion keys create" in str(caught.value.accepted)
    key, _ = keys.create("one", "a", ("read",))
    check_exposure(settings, keys.read(), now)
    keys.revoke(key.id)
    with pytest.raises(RequestInvalid):
        check_exposure(settings, keys.read(), now)


@pytest.mark.parametrize("names", ["slides.example.org", "*", "localhost, slides.example.org", "192.0.2.1"])
def test_a_name_for_a_server_in_front_wants_a_key_too(tmp_path: Path, names: str) -> None:
    with pytest.raises(RequestInvalid):
        check_exposure(Settings(allowed_hosts=names), NO_KEYS, datetime.now(UTC))
    app, access = guarded(tmp_path, allowed_hosts=names)
    answer = call(app, "GET", "/v1/slides", access=access)  # also of one that was started with a key file since lost
    assert (answer.status, answer.code) == (401, "unauthorized")
    check_exposure(Settings(allowed_hosts="localhost, 127.0.0.1"), NO_KEYS, datetime.now(UTC))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "localhost", "a.localhost"])
def test_this_machine_alone_needs_no_key(host: str) -> None:
    assert is_loopback(host)
    check_exposure(Settings(host=host), NO_KEYS, datetime.now(UTC))


# --- keys -------------------------------------------------------------------------------------------------------------


def test_a_key_comes_in_either_header(tmp_path: Path) -> None:
    app, access = guarded(tmp_path)
    token = key_of(tmp_path)
    for headers in (bearer(token), [("authorization", f"bearer  {token}")], [("x-api-key", token)]):
        assert call(app, "GET", "/v1/slides/1", headers, access=access).body == b'"lab-a"'
    both = [*bearer(token), ("x-api-key", token)]
    assert call(app, "GET", "/v1/slides/1", both, access=access).status == 200


def test_two_keys_no_key_or_another_scheme_do_not_get_in(tmp_path: Path) -> None:
    app, access = guarded(tmp_path)
    token, other = key_of(tmp_path), key_of(tmp_path, tenant="lab-b")
    for headers in (
        [*bearer(token), ("x-api-key", other)],
        [*bearer(token), *bearer(other)],
        [("authorization", f"Basic {token}")],
        [("authorization", token)],
        [("authorization", "Bearer ")],
        [("cookie", f"key={token}")],
        [],
    ):
        assert call(app, "GET", "/v1/slides", headers, access=access).status == 401, headers
    assert call(app, "GET", f"/v1/slides?key={token}", access=access).status == 401


def test_a_running_server_sees_a_key_come_and_go(tmp_path: Path) -> None:
    app, access = guarded(tmp_path)
    key, token = Keys(tmp_path).create("one", "lab-a", ("read",))
    assert get(app, access, "/v1/slides", token).status == 200
    Keys(tmp_path).revoke(key.id)
    assert get(app, access, "/v1/slides", token).status == 401


@pytest.mark.parametrize("held", SCOPES)
@pytest.mark.parametrize(
    ("method", "url", "needed"),
    [
        *(("GET", "/v1/slides", "read"), ("HEAD", "/v1/slides", "read"), ("POST", "/v1/slides", "submit")),
        *(("DELETE", "/v1/jobs/1", "submit"), ("PATCH", "/v1/slides", "submit"), ("TRACE", "/v1/slides", "submit")),
        *(("POST", "/v1/links", "read"), ("PUT", "/v1/links", "submit"), ("POST", "/v1/links/", "submit")),
    ],
)
def test_a_method_needs_its_scope_and_the_answer_names_it(
    tmp_path: Path, method: str, url: str, needed: Scope, held: Scope
) -> None:
    app, access = guarded(tmp_path)
    token = key_of(tmp_path, held)
    if held == needed:
        assert call(app, method, url, bearer(token), access=access).status not in (401, 403)
        return
    answer = call(app, method, url, bearer(token), access=access)
    assert (answer.status, answer.code) == (403, "scope_missing")
    assert f'scope="{needed}"' in answer.headers["www-authenticate"]
    assert json.loads(answer.body)["error"]["accepted"] == needed


def test_a_route_may_ask_for_more(tmp_path: Path) -> None:
    app, access = guarded(tmp_path)
    answer = get(app, access, "/v1/keys", key_of(tmp_path, "read", "submit"))
    assert (answer.status, answer.code) == (403, "scope_missing")
    assert get(app, access, "/v1/keys", key_of(tmp_path, "read", "admin")).status == 200


def test_what_is_another_tenants_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    app, access = guarded(tmp_path)
    token = key_of(tmp_path)
    assert get(app, access, "/v1/slides", token).body == b'["1"]'
    assert get(app, access, "/v1/slides/1", token).status == 200
    other, absent = get(app, access, "/v1/slides/2", token), get(app, access, "/v1/slides/3", token)
    assert other.status == absent.status == 404
    assert other.body.replace(b'"2"', b'"3"').replace(b'/2"', b'/3"') == absent.body
    assert {**other.headers, "ratelimit": ""} == {**absent.headers, "ratelimit": ""}
    assert [line["code"] for line in log_of(access)] == ["other_tenant"]  # the log knows


def test_nothing_of_a_refused_body_is_read_before_the_answer(tmp_path: Path) -> None:
    """Also where the framework would have read all of it first: a route whose body is JSON."""
    app, access = guarded(tmp_path)
    key_of(tmp_path)
    seen: list[int] = []

    async def watched(scope: object, receive: object, send: object) -> None:
        seen.append(1)

    for url in ("/v1/jobs", "/v1/slides"):
        answer = call(app, "POST", url, access=access, body=b"x" * 10)
        assert (answer.status, answer.headers["connection"]) == (401, "close")
        assert answer.reads == 1  # thrown away after the answer, so that the client sees it
    assert not seen


def test_without_the_gate_nobody_is_let_in_by_accident(tmp_path: Path) -> None:
    _, access = guarded(tmp_path)
    with pytest.raises(AttributeError):
        call(small_app(), "GET", "/v1/slides", access=access)


def test_no_other_protocol_goes_around_the_gate(tmp_path: Path) -> None:
    app, access = guarded(tmp_path)
    said: list[Message] = []

    async def send(message: Message) -> None:
        said.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    scope = {"type": "websocket", "path": "/v1/slides", "headers": [], "state": {"access": access}}
    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    assert said == [{"type": "websocket.close", "code": 1008}]


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (Unauthorized("Said."), 401, {"www-authenticate": 'Bearer realm="ldiffusion"'}),
        (Forbidden("Said."), 403, {}),
        (
            ScopeMissing("submit", "read"),
            403,
            {"www-authenticate": 'Bearer error="insufficient_scope", scope="submit"'},
        ),
        (RateLimited(2, 1.2, is_first=True), 429, {"retry-after": "2"}),
        (QuotaExceeded("Said."), 429, {}),
        (QuotaExceeded("Said.", retry_after_s=0.1), 429, {"retry-after": "1"}),
        (Unavailable("Said."), 503, {"retry-after": "5"}),
        (DiskFull("Said."), 507, {}),
    ],
)
@pytest.mark.parametrize("body_unread", [False, True])
def test_a_refusal_says_what_would_help(
    error: LDiffusionError, status: int, headers: dict[str, str], *, body_unread: bool
) -> None:
    answer = answer_of(error, body_unread=body_unread)
    said = {name: answer.headers[name] for name in ("www-authenticate", "retry-after") if name in answer.headers}
    assert (answer.status_code, said) == (status, headers)


# --- what is left of a rate -------------------------------------------------------------------------------------------


def test_every_answer_to_a_key_tells_what_is_left_refusals_and_failures_too(tmp_path: Path) -> None:
    app, access = guarded(tmp_path, request_rate_per_s=0.001, request_burst=5)
    reader = bearer(key_of(tmp_path, "read"))
    asked = [("GET", "/v1/slides"), ("GET", "/v1/slides/9"), ("POST", "/v1/slides"), ("HEAD", "/v1/slides")]
    answers = [
        call(app, method, url, reader, access=access) for method, url in [*asked, ("GET", "/v1/slides"), asked[0]]
    ]
    assert [answer.status for answer in answers] == [200, 404, 403, 405, 200, 429]
    left = [answer.headers["ratelimit"] for answer in answers]
    assert [text.partition(";t=")[0] for text in left] == [f'"requests";r={number}' for number in (4, 3, 2, 1, 0, 0)]
    assert {answer.headers["ratelimit-policy"] for answer in answers} == {'"requests";q=5;w=5000'}
    assert left[-1] == f'"requests";r=0;t={answers[-1].headers["retry-after"]}'


def test_nothing_is_told_where_nothing_is_counted_or_nobody_is_known(tmp_path: Path) -> None:
    app, access = guarded(tmp_path)
    assert "ratelimit" not in call(app, "GET", "/v1/slides", access=access).headers  # open
    key_of(tmp_path)
    for url, status in (("/healthz", 200), ("/v1/slides", 401)):
        answer = call(app, "GET", url, access=access)
        assert (answer.status, "ratelimit" in answer.headers) == (status, False)
