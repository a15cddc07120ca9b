"""HEAD at every address that has GET: what GET answers, but for the body, and without reading one."""

import asyncio
import re
import shutil
from collections.abc import Iterable, Iterator

import httpx
import pytest
import redis
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from fiducials import Finished
from gateway_fixtures import running_gateway
from starlette.routing import BaseRoute, Route
from starlette.types import Message, Scope

from server.app import create_app
from server.web.head import HeadLikeGet
from server.web.sse import Listeners
from workers.core.settings import Settings

TUS = {"Tus-Resumable": "1.0.0"}
LOCATE = "/v1/uploads/{upload_id}"
"""The one address where HEAD says something else than GET: the protocol of uploads wants it."""
UNMADE = "zarr|batch|features|/events|confidence|difference|/objects|/density|coarse"
"""What this job does not have, or what is made first when somebody asks."""
COUNTS = "/metrics"
"""Each question counts in the answer to the next one."""


def walked(routes: Iterable[BaseRoute]) -> Iterator[str]:
    for route in routes:
        if isinstance(route, Route):
            yield from [route.path] if "GET" in (route.methods or ()) else []
        else:  # the framework keeps included routers as they were
            yield from walked(route.original_router.routes)  # type: ignore[attr-defined]


GETS = sorted(walked(create_app(Settings()).routes))
LONG = "overlay.ome.tif"


@pytest.fixture(scope="module")
def world(plain: Finished, gateway_queue: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a gateway with a slide and a job that has succeeded; its base address tells nothing of them."""
    with redis.Redis.from_url(gateway_queue) as connection:
        connection.flushall()
    folder = tmp_path_factory.mktemp("head")
    shutil.copytree(plain.store.root, folder / "data", ignore=shutil.ignore_patterns("products"))
    models_dir = plain.store.root.parent / "models"
    settings = Settings(data_dir=folder / "data", models_dir=models_dir, redis_url=gateway_queue, disk_reserve_bytes=0)
    with running_gateway(settings) as url, httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        yield client


def address_of(path: str, plain: Finished, name: str = LONG) -> str:
    parts = {"slide_id": plain.info.id, "job_id": plain.job_id, "level": "9", "col": "0", "row": "0"}
    parts |= {"name": "made-model" if "models" in path else name, "part:path": "zarr.json"}
    return re.sub(r"\{([\w:]+)\}", lambda part: parts.get(part[1], "0" * 32), path)


def told(answer: httpx.Response) -> tuple[int, dict[str, str]]:
    """Status and headers, without what differs from one answer to the next, and how the body comes."""
    left_out = ("date", "x-request-id", "transfer-encoding")
    return answer.status_code, {name: value for name, value in answer.headers.items() if name not in left_out}


def compared(client: httpx.Client, address: str, **headers: str) -> httpx.Response:
    """Ask for an address in both ways over one connection, and return the answer to GET."""
    whole = client.get(address, headers=TUS | headers)
    head = client.head(address, headers=TUS | headers)
    assert told(head) == told(whole), address
    assert head.content == b""
    if "transfer-encoding" not in whole.headers and whole.status_code not in (204, 304):
        assert int(head.headers["content-length"]) == whole.num_bytes_downloaded
    return whole


@pytest.mark.parametrize("path", [path for path in GETS if path not in (LOCATE, COUNTS)])
def test_head_is_get_without_the_body(world: httpx.Client, plain: Finished, path: str) -> None:
    whole = compared(world, address_of(path, plain))
    if path.startswith("/v1") and not re.search(UNMADE, path):
        assert whole.status_code == 200, whole.text  # else the comparison would be one of errors
    if "etag" in whole.headers:
        kept = compared(world, address_of(path, plain), **{"if-none-match": whole.headers["etag"]})
        assert (kept.status_code, kept.content) == (304, b"")


@pytest.mark.parametrize("path", [path for path in GETS if "{" in path and path != LOCATE])
def test_head_of_what_is_not_there_is_the_same_error(world: httpx.Client, path: str) -> None:
    address = re.sub(r"\{[\w:]+\}", "0" * 32, path)
    assert compared(world, address).status_code in (404, 409, 422)


@pytest.mark.parametrize(
    "name", ["regions.geojson", "regions.geojson.gz", "regions.geojson?space=qupath", "statistics.csv", "result"]
)
@pytest.mark.parametrize("coding", ["gzip", "identity"])
def test_every_form_of_a_result_has_its_head(world: httpx.Client, plain: Finished, name: str, coding: str) -> None:
    address = address_of("/v1/jobs/{job_id}/{name}", plain, name)
    assert compared(world, address, **{"accept-encoding": coding}).status_code == 200


def test_a_range_is_asked_for_by_get_alone(world: httpx.Client, plain: Finished) -> None:
    address = address_of("/v1/jobs/{job_id}/{name}", plain)
    part, head = (world.request(each, address, headers={"range": "bytes=3-9"}) for each in ("GET", "HEAD"))
    assert (part.status_code, part.headers["content-length"]) == (206, "7")
    assert (head.status_code, head.headers["content-length"]) == (200, part.headers["content-range"].split("/")[1])
    assert world.head(address, headers={"range": "bytes=999999999-"}).status_code == 200


def test_a_wrong_method_is_told_of_head(world: httpx.Client) -> None:
    assert world.delete("/v1/models").headers["allow"] == "GET, HEAD"
    assert world.head("/v1/links").status_code == 405
    assert world.head("/v1/links").headers["allow"] == "POST"


def test_who_asks_for_the_head_of_events_takes_no_seat(
    world: httpx.Client, plain: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    seats: list[int] = []
    take = Listeners._take

    def counted(self: Listeners, tenant: str) -> object:
        seats.append(len(self._seats))
        return take(self, tenant)

    monkeypatch.setattr(Listeners, "_take", counted)
    for _ in range(5):
        assert world.head(f"/v1/jobs/{plain.job_id}/events").headers["content-type"].startswith("text/event-stream")
    assert seats == [0] * 5


def test_of_a_long_body_no_more_than_its_first_piece_is_made() -> None:
    made: list[int] = []

    async def pieces() -> Iterator[bytes]:  # type: ignore[misc] # an asynchronous one
        for number in range(1000):
            made.append(number)
            yield b"x"

    app = FastAPI()
    app.add_api_route("/long", lambda: StreamingResponse(pieces()), methods=["GET"])
    app.add_middleware(HeadLikeGet)
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    scope: Scope = {"type": "http", "method": "HEAD", "path": "/long", "headers": [], "query_string": b""}
    asyncio.run(app(scope, receive, send))
    assert [each["type"] for each in sent] == ["http.response.start", "http.response.body"]
    assert (sent[1]["body"], sent[1]["more_body"]) == (b"", False)
    assert len(made) == 1
