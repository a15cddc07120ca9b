"""Security headers on every answer, and the attacks that come through somebody's browser."""

from pathlib import Path

import pytest
from access_fixtures import PAGE, guarded, key_of, log_of
from asgi_call import bearer, call

from server.access import keys as keys_module
from server.access.headers import Hosts
from server.access.protection import protect
from server.app import create_app
from server.routes import page
from workers.core.errors.base import RequestInvalid
from workers.core.settings import Settings

SITE = "https://viewer.example"


@pytest.fixture(autouse=True)
def fresh_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "CHECK_S", 0.0)


def directives(policy: str) -> dict[str, list[str]]:
    """A Content-Security-Policy by the grammar of its specification."""
    return {words[0]: words[1:] for part in policy.split(";") if (words := part.split())}


# --- headers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "url", "host", "status"),
    [
        *(("GET", "/", "localhost", 200), ("GET", "/v1/slides", "localhost", 200), ("GET", "/no", "localhost", 404)),
        *(("GET", "/", "evil.example", 403), ("DELETE", "/v1/slides/1", "localhost", 500)),
    ],
)
def test_every_answer_has_the_headers_also_refusals_and_failures(
    tmp_path: Path, method: str, url: str, host: str, status: int
) -> None:
    app, access = guarded(tmp_path)
    fails = ZeroDivisionError if status == 500 else None
    answer = call(app, method, url, access=access, host=("host", host), fails=fails)
    assert answer.status == status
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["x-frame-options"] == "DENY"
    assert directives(answer.headers["content-security-policy"])["frame-ancestors"] == ["'none'"]
    assert not any(name.startswith("access-control") for name in answer.headers)


def test_a_page_runs_no_script_that_is_written_into_it(tmp_path: Path) -> None:
    app, access = guarded(tmp_path)
    answer = call(app, "GET", "/", access=access)
    policy = directives(answer.headers["content-security-policy"])
    assert answer.body.decode() == PAGE
    assert policy["default-src"] == ["'none'"]
    assert policy["script-src"] == policy["connect-src"] == policy["style-src"] == ["'self'"]
    assert not any("unsafe" in source or "http" in source for sources in policy.values() for source in sources)


def test_what_is_no_page_can_do_nothing_even_when_opened_as_one(tmp_path: Path) -> None:
    app, access = guarded(tmp_path)
    policy = directives(call(app, "GET", "/v1/slides", access=access).headers["content-security-policy"])
    assert (policy["default-src"], policy["sandbox"]) == (["'none'"], [])
    assert "script-src" not in policy


def test_the_pages_for_programmers_need_no_key_and_nothing_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "STATIC", tmp_path / "nothing")  # a built one is looked at in tests/viewer/
    settings = Settings(data_dir=tmp_path)
    app, (_, access) = protect(create_app(settings), settings, page.PUBLIC), guarded(tmp_path)
    key_of(tmp_path)
    for path in ("/docs", "/docs/errors", "/openapi.json"):
        answer = call(app, "GET", path, access=access)
        assert answer.status == 200
        policy = directives(answer.headers["content-security-policy"])
        assert not any("unsafe" in source or "http" in source for sources in policy.values() for source in sources)
        assert b"<script>" not in answer.body
        kept = call(app, "GET", path, [("if-none-match", answer.headers["etag"])], access=access)
        assert (kept.status, kept.body) == (304, b"")
        assert "content-security-policy" not in kept.headers  # else a page that is kept would have that of data


def test_without_a_build_the_page_of_the_interface_lists_every_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "STATIC", tmp_path / "nothing")
    settings = Settings(data_dir=tmp_path)
    application = create_app(settings)
    body = call(application, "GET", "/docs").body.decode()
    assert "make viewer" in body
    for path in application.openapi()["paths"]:
        assert f"<td>{path}</td>" in body


# --- DNS rebinding ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8000", "localhost.", "127.0.0.1:8000", "127.9.9.9", "[::1]:8000", "a.localhost:1"],
)
def test_names_of_this_machine_are_always_taken(tmp_path: Path, host: str) -> None:
    app, access = guarded(tmp_path, allowed_hosts="slides.example")
    token = key_of(tmp_path)
    assert call(app, "GET", "/", bearer(token), access=access, host=("host", host)).status == 200


@pytest.mark.parametrize(
    "host",
    [
        *(
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil.example:8000",
            "192.0.2.1",
            "0.0.0.0",
        ),
        *("", ":8000", "localhost:8000:1", "localhost@evil.example", "localhost/evil", "localhost evil.example"),
        *("[::1", "[::2]", "[evil]", "evil.example#localhost", "localhosté"),
    ],
)
def test_other_names_are_not(tmp_path: Path, host: str) -> None:
    app, access = guarded(tmp_path, host="0.0.0.0", allowed_hosts="slides.example")
    token = key_of(tmp_path)
    for method in ("GET", "POST"):
        answer = call(app, method, "/v1/slides", bearer(token), access=access, host=("host", host))
        assert (answer.status, answer.code) == (403, "host_refused")
    assert [line["code"] for line in log_of(access)] == ["host_refused"]  # one line a minute


def test_no_host_or_two_are_refused(tmp_path: Path) -> None:
    app, access = guarded(tmp_path)
    assert call(app, "GET", "/", access=access, host=None).status == 403
    assert call(app, "GET", "/", [("host", "evil.example")], access=access).status == 403
    assert (
        call(app, "GET", "/", [("x-forwarded-host", "localhost")], access=access, host=("host", "evil")).status == 403
    )


def test_listed_names_the_bound_address_and_a_star_are_taken(tmp_path: Path) -> None:
    app, access = guarded(tmp_path, host="192.0.2.1", allowed_hosts="Slides.example, other.example")
    token = key_of(tmp_path)
    for host in ("slides.example", "other.example:8443", "192.0.2.1:8000"):
        assert call(app, "GET", "/", bearer(token), access=access, host=("host", host)).status == 200
    anything, access = guarded(tmp_path, allowed_hosts="*")
    assert call(anything, "GET", "/", bearer(token), access=access, host=("host", "any.example")).status == 200


def test_the_guard_is_what_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, a page that rebinds its name uses an open server as this machine's own user."""
    app, access = guarded(tmp_path)
    monkeypatch.setattr(Hosts, "take", lambda *_given: True)
    page = [("origin", "http://evil.example:8000")]
    rebound = call(app, "POST", "/v1/slides", page, access=access, host=("host", "evil.example:8000"))
    assert rebound.status == 200


# --- requests from pages of other sites -------------------------------------------------------------------------------


MUTATIONS = ("POST", "PUT", "PATCH", "DELETE", "TRACE")


@pytest.mark.parametrize(
    "headers",
    [
        [("origin", "https://evil.example")],
        [("origin", "null")],
        [("origin", "http://localhost:3000")],  # another program's page on this machine
        [("origin", "http://localhost")],
        [("origin", "http://localhost:8000.evil.example")],
        [("origin", "ftp://localhost:8000")],
        [("origin", "")],
        [("origin", "http://localhost:8000"), ("origin", "https://evil.example")],
        [("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "same-site")],
        [("origin", "https://evil.example"), ("sec-fetch-site", "none")],
    ],
)
def test_a_page_of_another_site_changes_nothing(tmp_path: Path, headers: list[tuple[str, str]]) -> None:
    app, access = guarded(tmp_path, cors_origins=SITE)
    for method in MUTATIONS:
        answer = call(app, method, "/v1/slides", headers, access=access)
        assert (answer.status, answer.code) == (403, "origin_refused"), method
    assert {line["code"] for line in log_of(access)} == {"origin_refused"}
    assert "access-control-allow-origin" not in call(app, "GET", "/v1/slides", headers, access=access).headers


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("origin", "http://localhost:8000")],
        [("origin", "https://LOCALHOST:8000")],  # TLS ends at a server in front
        [("origin", SITE), ("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "same-origin")],
        [("sec-fetch-site", "none")],
    ],
)
def test_own_pages_listed_ones_and_what_is_no_browser_may(tmp_path: Path, headers: list[tuple[str, str]]) -> None:
    app, access = guarded(tmp_path, cors_origins=SITE)
    assert call(app, "POST", "/v1/slides", headers, access=access).status == 200


# --- reading from pages of other sites --------------------------------------------------------------------------------


def preflight(origin: str) -> list[tuple[str, str]]:
    asked = [
        ("access-control-request-method", "PATCH"),
        ("access-control-request-headers", "authorization,upload-offset"),
    ]
    return [("origin", origin), *asked]


def test_by_default_no_other_site_may_read_or_ask(tmp_path: Path) -> None:
    app, access = guarded(tmp_path)
    for method, headers in (("GET", [("origin", SITE)]), ("OPTIONS", preflight(SITE))):
        answer = call(app, method, "/v1/slides", headers, access=access)
        assert not any(name.startswith("access-control") for name in answer.headers)


def test_only_a_listed_site_may(tmp_path: Path) -> None:
    app, access = guarded(tmp_path, cors_origins=f"{SITE}, https://second.example:8443")
    token = key_of(tmp_path)
    asked = call(app, "OPTIONS", "/v1/uploads/1", preflight(SITE), access=access)
    assert asked.status == 200  # a preflight carries no key
    assert asked.headers["access-control-allow-origin"] == SITE
    assert "PATCH" in asked.headers["access-control-allow-methods"]
    assert "access-control-allow-credentials" not in asked.headers
    read = call(app, "GET", "/v1/slides", [("origin", SITE), *bearer(token)], access=access)
    assert (read.status, read.headers["access-control-allow-origin"]) == (200, SITE)
    assert "Upload-Offset" in read.headers["access-control-expose-headers"]
    refused = call(app, "GET", "/v1/slides", [("origin", SITE)], access=access)  # so that the page can say why
    assert (refused.status, refused.headers["access-control-allow-origin"]) == (401, SITE)
    other = call(app, "OPTIONS", "/v1/uploads/1", preflight("https://evil.example"), access=access)
    assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize("origins", ["*", "viewer.example", "https://a.example/path", "null", "https://*.example"])
def test_an_origin_that_is_none_is_told_at_the_start(tmp_path: Path, origins: str) -> None:
    with pytest.raises(RequestInvalid):
        guarded(tmp_path, cors_origins=origins)
