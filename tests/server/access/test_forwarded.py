"""`X-Forwarded-*`: believed of a named proxy that names this server, and of nobody else."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from access_fixtures import key_of
from asgi_call import bearer, call
from fastapi import FastAPI, Request
from gateway_fixtures import GatewayWith
from starlette.types import ASGIApp

from server.access.exposure import check_exposure, is_open, proxies_of
from server.access.gate import open_access
from server.access.keys import Keys, KeySet
from server.access.notes import remote_of
from server.access.protection import protect
from server.web.root_path import path_of
from workers.core.errors.base import RequestInvalid
from workers.core.settings import Settings

PROXY, OTHER, NAME = "10.1.2.3", "192.0.2.7", "slides.example"
ALL = [
    ("x-forwarded-for", "203.0.113.9"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", NAME),
    ("x-forwarded-prefix", "/wsi"),
]
"""What a proxy says of a request."""


def telling() -> FastAPI:
    """An application that says how it sees a request."""
    app = FastAPI()

    @app.api_route("/v1/{rest:path}", methods=["GET", "POST"])
    async def tell(request: Request) -> dict[str, str]:
        return {
            "remote": remote_of(request.scope),
            "base": str(request.base_url),
            "path": path_of(request.scope),
        }

    return app


class Seen:
    """The application behind its guards."""

    def __init__(self, folder: Path, **changes: object) -> None:
        given = {"data_dir": folder, "trusted_proxies": f"{PROXY}, 2001:db8::/64", "allowed_hosts": NAME}
        settings = Settings.model_validate(given | changes)
        self.token = key_of(folder)
        self.access = open_access(settings)
        self.app: ASGIApp = protect(telling(), settings)

    def __call__(self, headers: list[tuple[str, str]], client: str = PROXY, **more: Any) -> dict[str, str]:
        answer = call(
            self.app, "GET", "/v1/x", [*headers, *bearer(self.token)], access=self.access, client=client, **more
        )
        assert answer.status == 200, answer.body
        told: dict[str, str] = json.loads(answer.body)
        return told


@pytest.fixture
def seen(tmp_path: Path) -> Seen:
    return Seen(tmp_path)


def test_a_named_proxy_is_believed(seen: Seen) -> None:
    assert seen(ALL) == {"remote": "203.0.113.9", "base": f"https://{NAME}/wsi/", "path": "/v1/x"}
    assert seen(ALL, client="::ffff:10.1.2.3")["remote"] == "203.0.113.9"
    assert seen(ALL, client="2001:db8::5")["remote"] == "203.0.113.9"


@pytest.mark.parametrize("header", [*([one] for one in ALL), ALL, [("x-forwarded-for", "127.0.0.1")]])
@pytest.mark.parametrize("client", [OTHER, "127.0.0.1", "2001:db8:0:1::5", "", "not-an-address"])
def test_of_anybody_else_nothing_changes_and_the_request_works(
    seen: Seen, header: list[tuple[str, str]], client: str
) -> None:
    plain = seen([], client=client)
    assert plain == {"remote": client, "base": "http://localhost:8000/", "path": "/v1/x"}
    assert seen(header, client=client) == plain


def test_without_a_setting_nobody_is_believed(tmp_path: Path) -> None:
    seen = Seen(tmp_path, trusted_proxies="")
    for client in ("127.0.0.1", PROXY, OTHER):
        assert seen(ALL, client=client) == seen([], client=client)


@pytest.mark.parametrize(
    ("lines", "remote"),
    [
        (["203.0.113.9"], "203.0.113.9"),
        (["198.51.100.1, 203.0.113.9"], "203.0.113.9"),  # the left one the sender may have written
        (["198.51.100.1", "203.0.113.9"], "203.0.113.9"),
        ([f"198.51.100.1, 203.0.113.9, {PROXY}"], "203.0.113.9"),  # through two proxies of ours
        ([f"198.51.100.1, {OTHER}, 2001:db8::9"], OTHER),
        ([f"{PROXY}, {PROXY}"], PROXY),
        (["203.0.113.9:4711"], "203.0.113.9"),
        (["[2001:db8:1::1]:4711"], "2001:db8:1::1"),
        (["2001:db8:1::1"], "2001:db8:1::1"),
        (["::ffff:203.0.113.9"], "203.0.113.9"),
        (["203.0.113.9, unknown"], PROXY),
        (["203.0.113.9, "], PROXY),
        (["'; drop table"], PROXY),
        ([""], PROXY),
    ],
)
def test_the_sender_is_the_nearest_that_is_no_proxy(seen: Seen, lines: list[str], remote: str) -> None:
    assert seen([("x-forwarded-for", line) for line in lines])["remote"] == remote


@pytest.mark.parametrize(
    "header",
    [
        *(("x-forwarded-proto", value) for value in ("ftp", "https, http", "", "javascript")),
        *(
            ("x-forwarded-prefix", value)
            for value in ("//evil.example", "wsi", "/a, /b", "/../x", "/v1", "", "/", "/é")
        ),
    ],
)
def test_what_makes_no_sense_is_left_out(seen: Seen, header: tuple[str, str]) -> None:
    assert seen([header]) == seen([])


def test_a_proxys_prefix_goes_before_that_of_the_settings(tmp_path: Path) -> None:
    seen = Seen(tmp_path, root_path="/lab")
    assert seen([])["base"].endswith(":8000/lab/")
    assert seen([("x-forwarded-prefix", "/wsi")])["base"].endswith(":8000/wsi/")
    assert seen([("x-forwarded-prefix", "//evil.example")])["base"].endswith(":8000/lab/")


def test_a_foreign_host_is_refused_whichever_header_names_it(tmp_path: Path) -> None:
    seen = Seen(tmp_path)
    foreign = [("x-forwarded-host", "evil.example")]
    for headers, host in ((foreign, ("host", "localhost")), ([("x-forwarded-host", NAME)], ("host", "evil.example"))):
        answer = call(
            seen.app, "GET", "/v1/x", [*headers, *bearer(seen.token)], access=seen.access, client=PROXY, host=host
        )
        assert (answer.status, answer.code) == (403, "host_refused")


def test_a_page_of_the_forwarded_host_may_send(tmp_path: Path) -> None:
    seen = Seen(tmp_path)
    for origin, headers, status in (
        (f"https://{NAME}", ALL, 200),
        (f"https://{NAME}", [], 403),
        ("https://evil.example", ALL, 403),
    ):
        given = [("origin", origin), *headers, *bearer(seen.token)]
        assert call(seen.app, "POST", "/v1/x", given, access=seen.access, client=PROXY).status == status


def test_strangers_behind_a_proxy_are_counted_each_for_himself_and_no_forger_is(tmp_path: Path) -> None:
    seen = Seen(tmp_path, request_burst=1, request_rate_per_s=0.001)

    def status(sender: str, client: str) -> int:
        return call(seen.app, "GET", "/v1/x", [("x-forwarded-for", sender)], access=seen.access, client=client).status

    assert [status("203.0.113.1", PROXY), status("203.0.113.1", PROXY), status("203.0.113.2", PROXY)] == [401, 429, 401]
    assert [status("203.0.113.3", OTHER), status("203.0.113.4", OTHER)] == [401, 429]


@pytest.mark.parametrize("text", ["proxy.example", "10.1.2.3/8", "*", "10.1.2", "10.0.0.0/33"])
def test_what_is_no_proxy_is_refused(text: str) -> None:
    with pytest.raises(RequestInvalid, match="trusted_proxies") as caught:
        proxies_of(Settings(trusted_proxies=f"127.0.0.1, {text}"))
    assert caught.value.value == text


def test_a_server_with_a_proxy_wants_a_key(tmp_path: Path) -> None:
    from datetime import UTC, datetime

    settings, none = Settings(data_dir=tmp_path, trusted_proxies="127.0.0.1"), Keys(tmp_path).read()
    assert isinstance(none, KeySet)
    assert not is_open(settings, none)
    with pytest.raises(RequestInvalid, match="without a usable key"):
        check_exposure(settings, none, datetime.now(UTC))


def test_a_running_gateway_writes_the_sender_on_record(gateway_settings: Settings, gateway_with: GatewayWith) -> None:
    for proxies, remote in (("127.0.0.1", "203.0.113.9"), ("", "127.0.0.1")):
        folder = gateway_settings.data_dir / (proxies or "none")
        folder.mkdir(parents=True)
        key = Keys(folder).create("made", "lab", ("read", "submit"))[1]
        settings = gateway_settings.model_copy(update={"data_dir": folder, "trusted_proxies": proxies})
        with gateway_with(settings) as url:
            headers = {"X-Forwarded-For": "203.0.113.9", "Authorization": f"Bearer {key}"}
            answer = httpx.delete(f"{url}/v1/slides/{'0' * 32}", headers=headers, trust_env=False)
            assert answer.status_code == 404
        lines = [json.loads(line) for line in (folder / "audit.jsonl").read_text().splitlines()]
        assert [line["remote"] for line in lines if line["action"] == "change"] == [remote]
