"""The OpenAPI document against real answers: status, content type and headers of each are declared, and no other."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import pytest
import redis
from fiducials import Finished
from gateway_fixtures import running_gateway
from made_slides import write_slide

from server.access.keys import Keys
from server.app import create_app
from server.routes.operators.health import PROBES
from server.web.document import ALWAYS, HEADERS, operations_of
from workers.core.settings import Settings

DOCUMENT: dict[str, Any] = create_app(Settings()).openapi()
TUS = {"Tus-Resumable": "1.0.0"}
CHUNK = TUS | {"Content-Type": "application/offset+octet-stream"}
SLIDE, JOB, UPLOAD = "/v1/slides/{slide_id}", "/v1/jobs/{job_id}", "/v1/uploads/{upload_id}"
TILE = f"{SLIDE}/slide_files/{{level}}/{{col}}_{{row}}.jpeg"
BURST = 300


@dataclass
class World:
    """A gateway that wants keys, with one of each thing."""

    url: str
    keys: dict[str, str]
    ids: dict[str, str] = field(default_factory=dict)
    fresh: str = ""
    """A slide that jobs can be asked for: the bytes of the other were never those of an upload."""

    def ask(self, method: str, path: str, key: str = "both", **more: Any) -> httpx.Response:
        for name, value in ({"level": "9", "col": "0", "row": "0"} | self.ids).items():
            path = path.replace(f"{{{name}}}", value)
        headers = more.pop("headers", {}) | ({"X-API-Key": self.keys[key]} if key else {})
        return httpx.request(method, f"{self.url}{path}", headers=headers, timeout=60, trust_env=False, **more)


@pytest.fixture(scope="module")
def world(plain: Finished, gateway_queue: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with redis.Redis.from_url(gateway_queue) as connection:
        connection.flushall()
    folder = tmp_path_factory.mktemp("document")
    shutil.copytree(plain.store.root, folder / "data", ignore=shutil.ignore_patterns("products"))
    settings = Settings(
        data_dir=folder / "data",
        models_dir=plain.store.root.parent / "models",
        redis_url=gateway_queue,
        disk_reserve_bytes=0,
        request_rate_per_s=0.001,
        request_burst=BURST,
    )
    keys = Keys(settings.data_dir)
    scopes = {"both": ("read", "submit"), "submit": ("submit",), "tired": ("read",)}
    tokens = {name: keys.create(name, "local", each)[1] for name, each in scopes.items()}  # type: ignore[arg-type]
    with running_gateway(settings) as url:
        made = World(url, tokens, {"slide_id": plain.info.id, "job_id": plain.job_id, "name": "overlay.ome.tif"})
        slide = write_slide(folder / "made.tif", np.full((300, 300, 3), 200, np.uint8))
        made.fresh = made.ask("PUT", "/v1/slides?filename=made.tif", content=slide.read_bytes()).json()["id"]
        upload = made.ask("POST", "/v1/uploads", headers=TUS | {"Upload-Length": "10"})
        made.ids["upload_id"] = upload.headers["location"].rpartition("/")[2]
        yield made


def check(answer: httpx.Response, path: str) -> None:
    """Hold an answer to what is declared of it."""
    method, status = answer.request.method, str(answer.status_code)
    declared = DOCUMENT["paths"][path][method.lower()]["responses"]
    assert status in declared, answer.text
    content = answer.headers.get("content-type", "").partition(";")[0]
    if answer.content:
        assert content in declared[status].get("content", {}), (content, status)
    said = {name for name in HEADERS if name in answer.headers}
    promised = set(declared[status]["headers"])
    assert said <= promised
    sure = {*ALWAYS, *(["WWW-Authenticate"] if status == "401" else []), *(["Tus-Resumable"] if status < "300" else [])}
    assert promised & sure <= said


ASKED: list[tuple[int, str, str, dict[str, Any]]] = [
    *((200, "GET", path, {"key": ""}) for path in sorted(PROBES)),
    *((200, "GET", path, {}) for path in ("/v1/slides", "/v1/jobs", "/v1/batches", "/v1/uploads", "/v1/models")),
    *((401, "GET", path, {"key": ""}) for path in ("/v1/slides", "/v1/models", TILE, f"{JOB}/{{name}}")),
    (401, "OPTIONS", "/v1/uploads", {"key": ""}),
    *((403, "GET", path, {"key": "submit"}) for path in ("/v1/slides", f"{JOB}/{{name}}", f"{JOB}/events")),
    (422, "GET", "/v1/slides?limit=0", {}),
    *((200, "GET", path, {}) for path in (SLIDE, f"{SLIDE}/slide.dzi", TILE, f"{SLIDE}/thumbnail.jpeg")),
    *((200, "GET", path, {}) for path in (JOB, f"{JOB}/overlay.dzi", f"{JOB}/products", f"{JOB}/events")),
    *((200, "GET", path, {}) for path in (f"{JOB}/live.dzi", f"{JOB}/open-in-qupath.groovy", f"{JOB}/{{name}}")),
    *((202, "GET", path, {}) for path in (f"{JOB}/features", f"{JOB}/labels.ome.zarr")),
    (206, "GET", f"{JOB}/{{name}}", {"headers": {"Range": "bytes=0-9"}}),
    (416, "GET", f"{JOB}/{{name}}", {"headers": {"Range": "bytes=999999999-"}}),
    *((304, "GET", path, {"headers": {"If-None-Match": "*"}}) for path in (f"{JOB}/{{name}}", TILE, f"{JOB}/live.dzi")),
    (200, "POST", "/v1/links", {"json": {"path": "/v1/slides"}}),
    (422, "POST", "/v1/jobs", {"json": {}}),
    (415, "POST", "/v1/jobs", {"content": b"{}", "headers": {"Content-Type": "text/plain"}}),
    (413, "POST", "/v1/jobs", {"content": b" " * (4 * 2**20 + 1)}),
    (404, "POST", "/v1/jobs", {"json": {"slide_id": "0" * 32}}),
    (202, "POST", "/v1/jobs", {"json": {"slide_id": "{slide_id}", "model": "made-model"}}),
    (202, "POST", "/v1/batches", {"json": {"slide_ids": ["{slide_id}"], "model": "made-model"}}),
    (400, "POST", "/v1/uploads", {"headers": TUS}),
    (412, "POST", "/v1/uploads", {"headers": {"Upload-Length": "10"}}),
    (201, "POST", "/v1/uploads", {"headers": TUS | {"Upload-Length": "10", "Upload-Concat": "partial"}}),
    (204, "OPTIONS", "/v1/uploads", {}),
    (200, "HEAD", UPLOAD, {"headers": TUS}),
    (409, "PATCH", UPLOAD, {"headers": CHUNK | {"Upload-Offset": "3"}, "content": b"x"}),
    (204, "PATCH", UPLOAD, {"headers": CHUNK | {"Upload-Offset": "0"}, "content": b"x"}),
    (204, "DELETE", UPLOAD, {"headers": TUS}),
    (404, "GET", UPLOAD, {}),
    (422, "PUT", "/v1/slides?filename=a.tif", {"content": b"nothing"}),
]


@pytest.mark.parametrize(("status", "method", "path", "more"), ASKED)
def test_what_is_answered_is_declared_and_what_is_promised_is_there(
    world: World, status: int, method: str, path: str, more: dict[str, Any]
) -> None:
    asked = dict(more)
    if "json" in asked:
        asked["json"] = json.loads(json.dumps(asked["json"]).replace("{slide_id}", world.fresh))
    answer = world.ask(method, path, **asked)
    assert answer.status_code == status, answer.text
    check(answer, path.partition("?")[0])


def test_a_link_opens_what_it_is_declared_to(world: World) -> None:
    link = world.ask("POST", "/v1/links", json={"path": "/v1/slides"}).json()["url"]
    answer = httpx.get(f"{world.url}{link}", trust_env=False)
    assert answer.status_code == 200
    check(answer, "/v1/slides")
    assert {"link": []} in DOCUMENT["paths"]["/v1/slides"]["get"]["security"]


def test_the_last_answer_of_a_rate_is_declared_too(world: World) -> None:
    with httpx.Client(base_url=world.url, headers={"X-API-Key": world.keys["tired"]}, trust_env=False) as client:
        answers = [client.get("/v1/models/none") for _ in range(BURST + 1)]
    assert [answer.status_code for answer in answers] == [404] * BURST + [429]
    for answer in answers[-2:]:
        check(answer, "/v1/models/{name}")
    assert int(answers[-1].headers["retry-after"]) > 0


def test_every_operation_says_who_may_use_it_and_what_the_door_refuses() -> None:
    schemes = set(DOCUMENT["components"]["securitySchemes"])
    for method, path, operation in operations_of(DOCUMENT):
        named = [name for each in operation["security"] for name in each]
        assert set(named) <= schemes
        wanted = ["key", "key_header", *(["link"] if method in ("GET", "HEAD") else [])]
        assert named == ([] if path in PROBES else wanted)
        assert {"400", "408", "431", "500", "503"} <= set(operation["responses"])
        assert ("401" in operation["responses"]) == (path not in PROBES)
        for answer in operation["responses"].values():
            assert "X-Request-Id" in answer["headers"]
            assert {each["$ref"].rpartition("/")[2] for each in answer["headers"].values()} <= set(HEADERS)
    assert set(DOCUMENT["components"]["headers"]) == set(HEADERS)


def test_the_document_is_the_same_for_whoever_asks_and_names_the_prefix(world: World) -> None:
    answer = httpx.get(f"{world.url}/openapi.json", trust_env=False)
    assert answer.json() == DOCUMENT
    kept = httpx.get(f"{world.url}/openapi.json", headers={"If-None-Match": answer.headers["etag"]}, trust_env=False)
    assert kept.status_code == 304
