"""Every route against who may not use it. The table has to name each route that the application has, and no other."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import pytest
import redis
from gateway_fixtures import running_gateway
from made_models import write_model_config
from made_slides import write_slide
from route_table import ADMIN, EVERYBODY, JOB, KINDS, LIST, MAKES, ONE, PUBLIC, SLIDE, UPLOAD
from starlette.routing import BaseRoute, Route

from server.access.keys import Keys
from server.access.principals import Scope
from server.app import create_app
from workers.core.settings import Settings
from workers.core.store import Store, new_id

ALL: tuple[Scope, ...] = ("read", "submit")
TUS = {"Tus-Resumable": "1.0.0"}
CHUNK = TUS | {"Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
TABLE = {route: kind for kind, routes in KINDS.items() for route in routes}


def walked(routes: Iterable[BaseRoute]) -> Iterator[str]:
    """Methods and paths of routes, those of included routers too; anything else that answers is an error."""
    for route in routes:
        if isinstance(route, Route):
            yield from (f"{method} {route.path}" for method in route.methods or ())
        else:  # the framework keeps included routers as they were
            yield from walked(route.original_router.routes)  # type: ignore[attr-defined]


ROUTES = sorted(walked(create_app(Settings()).routes))
PARTS = {"level": "0", "col": "0", "row": "0", "part:path": "zarr.json"}
MADE = {
    "POST /v1/links": {"path": "/v1/slides"},
    "POST /v1/imports": {"url": "https://slides.example/a.svs"},
    "POST /v1/jobs": {"slide_id": "0" * 32},
    "POST /v1/batches": {"slide_ids": ["0" * 32]},
    "POST /v1/roi/check": {"roi": [0, 0, 1, 1], "slide_id": "0" * 32},
}


def of(*kinds: str) -> list[str]:
    return [route for route in ROUTES if TABLE.get(route) in kinds]


@dataclass
class World:
    """A gateway with what one tenant made, and keys of it and of another."""

    url: str
    store: Store
    tokens: dict[tuple[str, tuple[Scope, ...]], str]
    ids: dict[str, str] = field(default_factory=dict)

    def client(self, tenant: str, *scopes: Scope) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.tokens[tenant, scopes or ALL]}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False)

    def ask(self, client: httpx.Client, route: str, ids: dict[str, str] | None = None) -> httpx.Response:
        """Send a request to a route, with these ids in its path."""
        method, path = route.split(" ")
        parts = PARTS | (ids or self.ids) | {"name": "made-model" if "models" in path else "statistics"}
        for name, value in parts.items():
            path = path.replace(f"{{{name}}}", value)
        is_chunk = route == f"PATCH {UPLOAD}"
        headers = CHUNK if is_chunk else TUS if "uploads" in path else {}
        body = {"labels": {"case": "1"}} if route in (f"PATCH {JOB}", f"PATCH {SLIDE}") else MADE.get(route)
        return client.request(method, path, headers=headers, json=body, content=b"x" if is_chunk else None)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, gateway_queue: str) -> Iterator[World]:
    with redis.Redis.from_url(gateway_queue) as connection:
        connection.flushall()
    folder = tmp_path_factory.mktemp("matrix")
    write_model_config(folder / "models" / "made-model")
    settings = Settings(
        data_dir=folder / "data", models_dir=folder / "models", redis_url=gateway_queue, disk_reserve_bytes=0
    )
    slide = write_slide(folder / "made.tif", np.full((300, 300, 3), 200, np.uint8))
    store, keys = Store(settings.data_dir), Keys(settings.data_dir)
    wanted: list[tuple[str, tuple[Scope, ...]]] = [(f"lab-{name}", ALL) for name in "abcdef"]
    wanted += [("lab-a", ("read", "admin")), ("lab-a", ("submit", "admin"))]
    # Before the gateway looks: it would see them half a second late.
    tokens = {(tenant, scopes): keys.create("made", tenant, scopes)[1] for tenant, scopes in wanted}
    with running_gateway(settings) as url:
        made = World(url, store, tokens)
        with made.client("lab-a") as owner:
            made.ids |= things_of(owner, slide)
        yield made


def things_of(client: httpx.Client, slide: Path) -> dict[str, str]:
    """Make one of each kind, and return their ids."""
    asked = {"model": "made-model", "mpp": 0.5}
    slide_id = answered(client.put("/v1/slides?filename=made.tif", content=slide.read_bytes())).json()["id"]
    job = answered(client.post("/v1/jobs", json=asked | {"slide_id": slide_id}))
    batch = answered(client.post("/v1/batches", json=asked | {"slide_ids": [slide_id]}))
    upload = answered(client.post("/v1/uploads", headers=TUS | {"Upload-Length": "10", "Upload-Concat": "partial"}))
    answered(client.post("/v1/uploads", headers=TUS | {"Upload-Length": "10"}))
    upload_id = upload.headers["location"].rpartition("/")[2]
    ids = dict.fromkeys(("job_id", "other_id"), job.json()["id"])
    return ids | {"slide_id": slide_id, "batch_id": batch.json()["id"], "upload_id": upload_id}


def answered(answer: httpx.Response) -> httpx.Response:
    assert answer.is_success, answer.text
    return answer


def told(answer: httpx.Response, ids: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
    """All that an answer says, but for the ids and the time."""
    body = re.sub(rb'"request_id":"[0-9a-f]{32}"', b"", answer.content)
    for value in ids.values():
        body = body.replace(value.encode(), b"<id>")
    return (
        answer.status_code,
        body,
        {name: value for name, value in answer.headers.items() if name not in ("date", "x-request-id", "ratelimit")},
    )


def test_the_table_names_every_route() -> None:
    assert sorted(TABLE) == ROUTES


@pytest.mark.parametrize("route", ROUTES)
def test_without_a_key_nothing_but_what_is_public_answers(world: World, route: str) -> None:
    with httpx.Client(base_url=world.url, trust_env=False) as nobody:
        answer = world.ask(nobody, route)
    if TABLE[route] == PUBLIC:
        assert answer.status_code in (200, 404)
    else:
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("route", of(ADMIN, EVERYBODY, LIST, MAKES, ONE))
def test_a_key_without_the_scope_is_refused(world: World, route: str) -> None:
    looks = route.split(" ", maxsplit=1)[0] in ("GET", "HEAD", "OPTIONS") or route == "POST /v1/links"
    held: Scope = "submit" if looks else "read"
    with world.client("lab-a", held, "admin") as client:
        answer = world.ask(client, route)
    assert answer.status_code == 403
    if not route.startswith("HEAD"):
        body = answer.json()["error"]
        assert (body["code"], body["accepted"]) == ("scope_missing", "read" if looks else "submit")


@pytest.mark.parametrize("route", of(ADMIN))
def test_what_concerns_the_whole_server_needs_its_scope(world: World, route: str) -> None:
    with world.client("lab-a") as client, world.client("lab-a", "read", "admin") as admin:
        assert world.ask(admin, route).status_code == 200
        refused = world.ask(client, route)
    assert (refused.status_code, refused.json()["error"]["accepted"]) == (403, "admin")


@pytest.mark.parametrize("route", of(ONE))
def test_what_is_anothers_is_told_like_what_is_not_there(world: World, route: str) -> None:
    with world.client("lab-b") as stranger:
        for others in ({name: new_id() for name in world.ids}, dict.fromkeys(world.ids, "0" * 31 + "x")):
            missing = world.ask(stranger, route, others)
            assert missing.status_code == 404
            if others["job_id"].endswith("x"):
                continue
            assert told(world.ask(stranger, route), world.ids) == told(missing, others)
    if not route.startswith(("DELETE", "PATCH")):  # else the test would be content with a route that never answers
        with world.client("lab-a") as owner, owner.stream("GET", "/healthz"):
            assert owned(world, owner, route) != 404


def owned(world: World, owner: httpx.Client, route: str) -> int:
    """Status of the owner's answer; only its head is waited for, since events do not end."""
    method, path = route.split(" ")
    for name, value in (PARTS | world.ids | {"name": "statistics"}).items():
        path = path.replace(f"{{{name}}}", value)
    with owner.stream(method, path, headers=TUS) as answer:
        return answer.status_code


@pytest.mark.parametrize("route", of(LIST))
def test_lists_show_nothing_of_others(world: World, route: str) -> None:
    with world.client("lab-b") as stranger, world.client("lab-a") as owner:
        assert {name: value for name, value in world.ask(stranger, route).json().items() if value is not None} == {
            "items": []
        }
        assert world.ask(owner, route).json()["items"]


def test_a_page_of_a_list_is_cut_after_others_are_left_out(world: World, tmp_path: Path) -> None:
    slide = write_slide(tmp_path / "made.tif", np.full((300, 300, 3), 100, np.uint8))
    with world.client("lab-c") as early, world.client("lab-d") as late:
        first, _ = things_of(early, slide), things_of(late, slide)
        for kind in ("slide", "batch", "upload"):
            page = early.get(f"/v1/{kind}s" if kind != "batch" else "/v1/batches", params={"limit": 1}).json()
            assert len(page["items"]) == 1, kind
            assert page.get("next_cursor") is None
        page = early.get("/v1/jobs", params={"limit": 2}).json()
        assert (len(page["items"]), page["next_cursor"]) == (2, None)
        assert first["job_id"] in {item["id"] for item in page["items"]}


# --- ids inside requests ----------------------------------------------------------------------------------------------


def test_nobody_asks_for_a_job_on_anothers_slide(world: World) -> None:
    before = world.store.list_jobs()
    others, asked = {"slide_id": new_id()}, {"model": "made-model", "mpp": 0.5}
    with world.client("lab-b") as stranger:
        refused = stranger.post("/v1/jobs", json=asked | {"slide_id": world.ids["slide_id"]})
        missing = stranger.post("/v1/jobs", json=asked | others)
        assert missing.status_code == 404
        assert told(refused, world.ids) == told(missing, others)
        refused = stranger.post("/v1/batches", json=asked | {"slide_ids": [world.ids["slide_id"]]})
        missing = stranger.post("/v1/batches", json=asked | {"slide_ids": [others["slide_id"]]})
    assert missing.status_code == 422
    assert told(refused, world.ids) == told(missing, others)
    assert world.store.list_jobs() == before


def test_nobody_looks_at_a_region_of_anothers_slide(world: World) -> None:
    others, asked = {"slide_id": new_id()}, {"roi": [5000, 0, 6000, 10]}
    with world.client("lab-b") as stranger, world.client("lab-a") as owner:
        refused, missing = (
            stranger.post("/v1/roi/check", json=asked | {"slide_id": ids["slide_id"]}) for ids in (world.ids, others)
        )
        assert missing.status_code == 404
        assert told(refused, world.ids) == told(missing, others)
        answer = owner.post("/v1/roi/check", json=asked | {"slide_id": world.ids["slide_id"]})
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "roi_outside")


def test_nobody_joins_anothers_part(world: World) -> None:
    others = {"upload_id": new_id()}
    with world.client("lab-b") as stranger, world.client("lab-a") as owner:
        refused, missing = (
            stranger.post("/v1/uploads", headers=TUS | {"Upload-Concat": f"final;/v1/uploads/{ids['upload_id']}"})
            for ids in (world.ids, others)
        )
        assert missing.status_code == 404
        assert told(refused, world.ids) == told(missing, others)
        assert world.ask(owner, f"GET {UPLOAD}").status_code == 200


def test_an_idempotency_key_is_its_tenants_own(world: World, tmp_path: Path) -> None:
    slide = write_slide(tmp_path / "made.tif", np.full((300, 300, 3), 50, np.uint8))
    with world.client("lab-e") as one, world.client("lab-f") as other:
        bodies = [{"slide_id": things_of(client, slide)["slide_id"], "model": "made-model"} for client in (one, other)]
        first = one.post("/v1/jobs", json=bodies[0], headers={"Idempotency-Key": "k"})
        second = other.post("/v1/jobs", json=bodies[1], headers={"Idempotency-Key": "k"})
        again = one.post("/v1/jobs", json=bodies[0], headers={"Idempotency-Key": "k"})
    assert first.status_code == second.status_code == again.status_code == 202
    assert first.json()["id"] == again.json()["id"] != second.json()["id"]
