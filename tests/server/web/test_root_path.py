"""A gateway below a path prefix, asked with the prefix and without: what it answers, and every link that it gives."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from root_path_fixtures import ROOT, Asked, World
from starlette._utils import get_route_path
from starlette.routing import BaseRoute, Route
from starlette.types import Message, Receive, Scope, Send

from server.app import create_app
from server.web.root_path import OWN, RootPath, link_to, path_of, root_path_of, shown_path, without_root
from workers.core.errors.base import RequestInvalid
from workers.core.settings import Settings

# --- the prefix itself ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "root"),
    [
        ("", ""),
        ("/", ""),
        ("/wsi", "/wsi"),
        ("/wsi/", "/wsi"),
        ("/lab/wsi-2", "/lab/wsi-2"),
        ("/v1x", "/v1x"),
        ("/~a.b", "/~a.b"),
    ],
)
def test_prefixes_that_are_taken(text: str, root: str) -> None:
    assert root_path_of(Settings(root_path=text)) == root


@pytest.mark.parametrize(
    "text",
    [
        *(
            "wsi",
            "//evil.example",
            "/wsi//a",
            "/a/../b",
            "/..",
            "/.",
            "/a b",
            "/a?b",
            "/a#b",
            "/a%2fb",
            "https://x/wsi",
        ),
        *("/wsi\n", "/wsé", "/a\\b", "/" + 300 * "a", "/v1", "/v1/", "/v1/jobs", "/docs/wsi", "/assets", "/healthz"),
    ],
)
def test_prefixes_that_are_refused(text: str) -> None:
    with pytest.raises(RequestInvalid, match="root_path: not a path prefix") as caught:
        root_path_of(Settings(root_path=text))
    assert caught.value.value == text
    with pytest.raises(RequestInvalid):
        create_app(Settings(root_path=text))


def walked(routes: list[BaseRoute]) -> Iterator[tuple[str, str]]:
    """Methods and paths of all routes, those of included routers too."""
    for route in routes:
        if isinstance(route, Route):
            yield from ((method, route.path) for method in sorted(route.methods or ()))
        else:  # the framework keeps included routers as they were
            yield from walked(route.original_router.routes)  # type: ignore[attr-defined]


ROUTES = sorted(walked(create_app(Settings()).routes))


def test_the_servers_own_first_parts_are_known() -> None:
    assert {path.split("/")[1] for _, path in ROUTES} - {""} == set(OWN)


PARTS = st.lists(st.sampled_from(["wsi", "v1", "jobs", "a", "wsi2", ""]), max_size=5)


@given(root=st.sampled_from(["", "/wsi", "/lab/wsi", "/a"]), parts=PARTS, is_stripped=st.booleans())
def test_a_path_is_the_same_with_and_without_and_the_router_sees_it_alike(
    root: str, parts: list[str], is_stripped: bool
) -> None:
    path = "/" + "/".join(parts)
    if is_stripped and (path == root or path.startswith(f"{root}/")):
        return  # a proxy that strips is not told from one that does not: such paths are not ours
    seen: list[Scope] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(scope)

    async def nothing(*_: Message) -> Any: ...

    scope = {"type": "http", "path": path if is_stripped else link_to(root, path)}
    with pytest.raises(StopIteration):
        RootPath(app, root)(scope, nothing, nothing).send(None)
    (given_on,) = seen
    assert path_of(given_on) == path
    assert (get_route_path(given_on) or "/") == path
    assert given_on["path"] == link_to(root, path)
    assert without_root(root, link_to(root, path)) == path


def test_a_path_is_read_as_the_router_reads_it() -> None:
    for path in ("/wsi", "/wsi/", "/wsi/v1", "/wsix/v1", "/v1/wsi", "/"):
        scope = {"type": "http", "path": path, "root_path": ROOT}
        assert path_of(scope) == (get_route_path(scope) or "/")


def test_nothing_else_reads_the_raw_path(repo_root: Path) -> None:
    raw = re.compile(r"""scope(\[|\.get\()["'](path|raw_path)["']""")
    readers = {path.name for path in (repo_root / "server").rglob("*.py") if raw.search(path.read_text())}
    assert readers == {"root_path.py"}


# --- all routes -------------------------------------------------------------------------------------------------------


HARMLESS = [(method, path) for method, path in ROUTES if method in ("GET", "HEAD", "OPTIONS") and "events" not in path]
CHANGING = [(method, path) for method, path in ROUTES if method not in ("GET", "HEAD", "OPTIONS")]
DIFFERENT = ("date", "x-request-id", "last-modified", "location", "content-length", "content-security-policy")


def filled(path: str, world: World) -> str:
    parts = {"slide_id": world.slide_id, "job_id": world.job_id, "name": "statistics", "part:path": "zarr.json"}
    parts |= {"level": "0", "col": "0", "row": "0"}
    return re.sub(r"\{([\w:]+)\}", lambda match: parts.get(match[1], "0" * 32), path)


def shape_of(answer: httpx.Response) -> tuple[Any, ...]:
    """All of an answer but links, times, what an error quotes, and how the server is at the moment."""
    body: Any = answer.content
    if answer.headers.get("content-type", "").startswith(("application/json", "application/problem+json")):
        body = re.sub(rf"(?<=[\"' ]){ROOT}(?=/)", "", answer.text)
        body = json.loads(body) if body else None
        if isinstance(body, dict):
            body.pop("servers", None)
            body.pop("request_id", None)
            body.pop("operator", None)
            for row in body.get("queue", ()):
                row.pop("oldest_s")
            body = {**body, "error": body["error"]["code"]} if isinstance(body.get("error"), dict) else body
    elif answer.headers.get("content-type", "").startswith(("text/html", "text/plain; version")) or (
        b"expires=" in answer.content
    ):
        body = None
    left = {*DIFFERENT, "etag"} if isinstance(body, dict) and "openapi" in body else DIFFERENT  # it names the prefix
    return answer.status_code, {k: v for k, v in answer.headers.items() if k not in left}, body


def test_every_route_answers_alike_with_the_prefix_and_without(rooted_world: World, below_root: Asked) -> None:
    with rooted_world.served("", "") as plain:
        for method, path in HARMLESS:
            address = filled(path, rooted_world)
            headers = {"Tus-Resumable": "1.0.0"}
            expected = shape_of(plain(method, address, headers=headers))
            assert shape_of(below_root(method, address, headers=headers)) == expected, (method, address)
        for method, path in CHANGING:  # at things that are not there, or with nothing to make them of
            address = re.sub(r"\{[\w:]+\}", "0" * 32, path)
            expected = shape_of(plain(method, address))
            assert expected[0] >= 400
            assert shape_of(below_root(method, address)) == expected, (method, address)


def test_a_body_is_bounded_and_an_upload_is_not(rooted_world: World, below_root: Asked) -> None:
    much = b" " * (4 * 2**20 + 1)
    assert below_root("POST", "/v1/jobs", content=much).status_code == 413
    answer = below_root("PUT", "/v1/slides?filename=a.tif", content=much)
    assert answer.json()["error"]["code"] == "slide_unreadable", answer.text


@given(path=st.text(max_size=300))
def test_a_path_that_is_shown_is_a_reference_to_this_server(path: str) -> None:
    try:
        path.encode()
    except UnicodeEncodeError:
        return  # no server gives such a path
    shown = shown_path({"type": "http", "path": path})
    assert re.fullmatch(r"/(?:[A-Za-z0-9._~/-]|%[0-9A-F]{2})*", shown)
    assert not shown.startswith("//")
    assert len(shown) <= 200
    assert unquote_to_bytes(f"/{quote(path.lstrip('/'))}").startswith(unquote_to_bytes(shown))


def test_the_prefix_twice_is_not_the_server(rooted_world: World) -> None:
    with rooted_world.served(ROOT, ROOT) as kept:
        assert kept("GET", f"{ROOT}/v1/slides").status_code == 404
        assert kept("GET", "/wsix/v1/slides").status_code == 404
