"""What belongs to access and needs the whole gateway: links, quotas, deletion, the audit log, the client's key."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime
from typing import Any

import httpx
import numpy as np
import pytest
from finished_jobs import finished_job
from jpeg_slides import info_of
from made_slides import MadeSlide

from ldiffusion_client import Client
from ldiffusion_client.errors import NotAllowed, RemoteError
from server.access.keys import Keys
from server.jobs.retention import Removed
from server.viewing.service import Viewing
from server.viewing.tile_pool import TilePool
from workers.core.job_files import Ending
from workers.core.schemas import JobRequest
from workers.core.settings import Settings
from workers.core.store import Store, new_id

TUS = {"Tus-Resumable": "1.0.0"}
GatewayWith = Callable[[Settings], AbstractContextManager[str]]


@pytest.fixture
def slide(made_slide: MadeSlide) -> bytes:
    return made_slide(np.full((300, 300, 3), 200, np.uint8)).read_bytes()


class Tenants:
    """Clients of one gateway, by tenant."""

    def __init__(self, url: str, tokens: dict[str, str]) -> None:
        self.url = url
        self.tokens = tokens
        self.clients = {tenant: self.client(token) for tenant, token in tokens.items()}

    def client(self, token: str | None = None) -> httpx.Client:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False)


@pytest.fixture
def tenants_with(gateway_settings: Settings, gateway_with: GatewayWith) -> Iterator[Callable[..., Tenants]]:
    """Return a function that runs a gateway with other settings, and keys of two tenants."""
    stack = ExitStack()

    def run(**changes: object) -> Tenants:
        settings = gateway_settings.model_copy(update=changes)
        settings.data_dir.mkdir(exist_ok=True)
        keys = Keys(settings.data_dir)
        tokens = {tenant: keys.create(tenant, tenant, ("read", "submit"))[1] for tenant in ("lab-a", "lab-b")}
        tenants = Tenants(stack.enter_context(gateway_with(settings)), tokens)
        for client in tenants.clients.values():
            stack.enter_context(client)
        return tenants

    with stack:
        yield run


def put(client: httpx.Client, slide: bytes) -> httpx.Response:
    return client.put("/v1/slides?filename=made.tif", content=slide)


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def log_of(settings: Settings) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (settings.data_dir / "audit.jsonl").read_text().splitlines()]


# --- links ------------------------------------------------------------------------------------------------------------


def test_a_link_shows_one_thing_of_its_tenant(tenants_with: Callable[..., Tenants], slide: bytes) -> None:
    tenants = tenants_with()
    owner, stranger = tenants.clients["lab-a"], tenants.clients["lab-b"]
    path = f"/v1/slides/{put(owner, slide).json()['id']}"
    link = owner.post("/v1/links", json={"path": path}).json()
    tiles = owner.post("/v1/links", json={"path": f"{path}/"}).json()
    foreign = stranger.post("/v1/links", json={"path": path}).json()
    with tenants.client() as nobody:
        assert nobody.get(link["url"]).json() == owner.get(path).json()
        assert nobody.get(f"{path}/slide.dzi?{tiles['query']}").status_code == 200
        assert nobody.get(f"{path}/slide.dzi?{link['query']}").status_code == 403
        assert nobody.delete(link["url"]).status_code == 403
        assert nobody.get(foreign["url"]).status_code == 404  # a link shows no more than its maker sees
    assert owner.post("/v1/links", json={"path": "/v1/slides/"}).status_code == 422  # nobody signs all of them


# --- quotas -----------------------------------------------------------------------------------------------------------


def test_what_a_tenant_stores_is_bounded(tenants_with: Callable[..., Tenants], slide: bytes) -> None:
    tenants = tenants_with(quota_bytes=2 * len(slide))
    owner, other = tenants.clients["lab-a"], tenants.clients["lab-b"]
    first = put(owner, slide).json()["id"]
    length = {"Upload-Length": str(len(slide) + 1)}
    assert code_of(owner.post("/v1/uploads", headers=TUS | length)) == (429, "quota_exceeded")
    part = owner.post("/v1/uploads", headers=TUS | {"Upload-Length": str(len(slide))})
    assert part.status_code == 201
    assert code_of(put(owner, slide)) == (429, "quota_exceeded")
    chunks = owner.put("/v1/slides?filename=made.tif", content=iter([slide]))  # it does not say how long it is
    assert code_of(chunks) == (429, "quota_exceeded")
    assert code_of(owner.post("/v1/slides", files={"file": ("made.tif", slide)})) == (429, "quota_exceeded")
    assert put(other, slide).status_code == 201
    assert owner.delete(f"/v1/slides/{first}").status_code == 204
    assert put(owner, slide).status_code == 201


def test_results_count_and_are_refused_before_they_are_made(
    tenants_with: Callable[..., Tenants], gateway_settings: Settings, slide: bytes
) -> None:
    tenants = tenants_with(quota_bytes=5 * 2**20)
    owner, other = tenants.clients["lab-a"], tenants.clients["lab-b"]
    ids = {client: put(client, slide).json()["id"] for client in (owner, other)}
    asked = {"model": "made-model", "mpp": 0.5}
    first = owner.post("/v1/jobs", json=asked | {"slide_id": ids[owner]}).json()
    usage = owner.get("/v1/usage").json()
    assert usage["jobs_bytes"] == first["preflight"]["estimated_disk_bytes"] > 4 * 2**20
    assert (usage["slides_bytes"], usage["slides"], usage["jobs"], usage["unfinished_jobs"]) == (len(slide), 1, 1, 1)
    assert usage["stored_bytes"] == usage["slides_bytes"] + usage["jobs_bytes"]
    refused = owner.post("/v1/jobs", json=asked | {"slide_id": ids[owner], "seed": 1})
    assert code_of(refused) == (429, "quota_exceeded")
    assert str(5 * 2**20) in refused.json()["error"]["accepted"]
    batch = owner.post("/v1/batches", json=asked | {"slide_ids": [ids[owner]]})
    assert code_of(batch) == (429, "quota_exceeded")
    store = Store(gateway_settings.data_dir)
    assert store.list_jobs() == [first["id"]]
    assert not list((store.root / "batches").glob("*"))
    assert other.post("/v1/jobs", json=asked | {"slide_id": ids[other]}).status_code == 202
    assert owner.delete(f"/v1/jobs/{first['id']}").status_code == 200  # canceled: it takes nothing more
    assert owner.get("/v1/usage").json()["jobs_bytes"] < 10_000
    assert owner.post("/v1/jobs", json=asked | {"slide_id": ids[owner]}).status_code == 202


def test_a_product_is_not_begun_where_there_is_no_room(
    tenants_with: Callable[..., Tenants], gateway_settings: Settings
) -> None:
    job_id = finished_job(Store(gateway_settings.data_dir), tenant="lab-a")
    client = tenants_with(quota_bytes=1000).clients["lab-a"]
    assert client.get("/v1/usage").json()["jobs_bytes"] > 3_000_000
    for address in ("confidence.ome.tif", "labels.ome.zarr", "features", "regions.geojson?simplify=1"):
        assert code_of(client.get(f"/v1/jobs/{job_id}/{address}")) == (429, "quota_exceeded"), address
    assert client.get(f"/v1/jobs/{job_id}/overlay.ome.tif").status_code == 200


def test_an_upload_that_does_not_say_its_size_is_counted_once_it_is_known(
    tenants_with: Callable[..., Tenants], slide: bytes
) -> None:
    owner = tenants_with(quota_bytes=len(slide) - 1).clients["lab-a"]
    answer = owner.put("/v1/slides?filename=made.tif", content=iter([slide]))
    assert code_of(answer) == (429, "quota_exceeded")
    assert owner.get("/v1/slides").json()["items"] == []


def test_unfinished_jobs_of_a_tenant_are_bounded(tenants_with: Callable[..., Tenants], slide: bytes) -> None:
    tenants = tenants_with(quota_jobs=2)
    owner, other = tenants.clients["lab-a"], tenants.clients["lab-b"]
    ids = [put(owner, slide).json()["id"] for _ in range(3)]
    asked = {"model": "made-model", "slide_id": ids[0]}
    refused = owner.post("/v1/batches", json={"model": "made-model", "slide_ids": ids})
    assert code_of(refused) == (429, "quota_exceeded")
    assert owner.get("/v1/jobs").json()["items"] == owner.get("/v1/batches").json()["items"] == []
    made = [owner.post("/v1/jobs", json=asked, headers={"Idempotency-Key": str(number)}) for number in range(2)]
    assert [answer.status_code for answer in made] == [202, 202]
    last = owner.post("/v1/jobs", json=asked, headers={"Idempotency-Key": "2"})
    assert code_of(last) == (429, "quota_exceeded")
    again = owner.post("/v1/jobs", json=asked, headers={"Idempotency-Key": "1"})  # asks for nothing new
    assert again.json()["id"] == made[1].json()["id"]
    assert other.post("/v1/jobs", json=asked | {"slide_id": put(other, slide).json()["id"]}).status_code == 202
    owner.delete(f"/v1/jobs/{again.json()['id']}")
    assert owner.post("/v1/jobs", json=asked, headers={"Idempotency-Key": "2"}).status_code == 202


# --- deletion ---------------------------------------------------------------------------------------------------------


def test_a_slide_goes_with_its_jobs_and_the_log_says_so(
    tenants_with: Callable[..., Tenants], slide: bytes, gateway_settings: Settings
) -> None:
    owner = tenants_with().clients["lab-a"]
    slide_id = put(owner, slide).json()["id"]
    job_id = owner.post("/v1/jobs", json={"model": "made-model", "slide_id": slide_id}).json()["id"]
    assert code_of(owner.delete(f"/v1/slides/{slide_id}")) == (409, "slide_in_use")
    assert owner.delete(f"/v1/jobs/{job_id}").json()["state"] == "canceled"
    assert owner.delete(f"/v1/slides/{slide_id}").status_code == 204
    assert owner.get(f"/v1/jobs/{job_id}").status_code == owner.get(f"/v1/slides/{slide_id}").status_code == 404
    store = Store(gateway_settings.data_dir)
    assert (store.list_jobs(), store.list_slides()) == ([], [])
    gone = [(line["action"], line["path"]) for line in log_of(gateway_settings) if line["action"].endswith("removed")]
    assert gone == [("job_removed", f"/v1/jobs/{job_id}"), ("slide_removed", f"/v1/slides/{slide_id}")]


def test_a_gateway_sweeps_by_age_when_it_starts(gateway_settings: Settings, gateway_with: GatewayWith) -> None:
    store = Store(gateway_settings.data_dir)
    job_id = store.new_id()
    moment = datetime(2020, 1, 2, tzinfo=UTC)
    store.save_request(job_id, JobRequest(slide_id="1" * 32), moment)
    store.write_json(store.job_dir(job_id) / "ended.json", Ending(state="canceled", finished_at=moment))
    with gateway_with(gateway_settings):
        assert store.list_jobs() == [job_id]
    with gateway_with(gateway_settings.model_copy(update={"retention_days": 1.0})):
        deadline = time.monotonic() + 30
        while store.list_jobs() and time.monotonic() < deadline:
            time.sleep(0.05)
    assert store.list_jobs() == []


def test_a_deleted_slide_is_not_held_open(gateway_settings: Settings, made_slide: MadeSlide) -> None:
    store = Store(gateway_settings.data_dir)
    viewing, pool = Viewing(store, gateway_settings), TilePool(gateway_settings)
    viewing._pool = pool
    slides = []
    for _ in range(2):
        path = made_slide(np.full((300, 300, 3), 200, np.uint8))
        slides.append(info_of(path).model_copy(update={"id": store.new_id()}))
        with store.incoming() as folder:
            path.rename(folder / "original.tif")
            store.commit_slide(slides[-1], folder)
        viewing.thumbnail(slides[-1], 64)
    gone, left = slides
    assert pool.idle == [store.slide_file(each.id) for each in slides]
    viewing.forget(Removed(kind="slide", id=gone.id, reason="request", size_bytes=0, slide_id=gone.id))
    assert pool.idle == [store.slide_file(left.id)]
    viewing.close()


# --- the audit log ----------------------------------------------------------------------------------------------------


def test_what_is_fetched_or_refused_is_on_record(
    tenants_with: Callable[..., Tenants], slide: bytes, gateway_settings: Settings
) -> None:
    tenants = tenants_with()
    owner, stranger = tenants.clients["lab-a"], tenants.clients["lab-b"]
    store, job_id = Store(gateway_settings.data_dir), Store.new_id()
    store.save_request(job_id, JobRequest(slide_id="1" * 32), datetime.now(UTC), "lab-a")
    owner.get(f"/v1/jobs/{job_id}/statistics")  # there is no result: nothing was fetched
    stranger.get(f"/v1/jobs/{job_id}/statistics")
    put(owner, slide)
    lines = [(line["tenant"], line["action"], line.get("code")) for line in log_of(gateway_settings)]
    assert lines == [("lab-b", "refusal", "other_tenant"), ("lab-a", "change", None)]
    assert not any(token in json.dumps(log_of(gateway_settings)) for token in tenants.tokens.values())


# --- the client -------------------------------------------------------------------------------------------------------


def test_the_client_sends_its_key(
    tenants_with: Callable[..., Tenants], made_slide: MadeSlide, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenants = tenants_with()
    path = made_slide(np.full((300, 300, 3), 200, np.uint8))
    with Client(tenants.url, tenants.tokens["lab-a"]) as client:
        assert client.upload(path).tenant == "lab-a"
    for key in (None, "ldk_0"):
        with Client(tenants.url, key) as client, pytest.raises(NotAllowed) as caught:
            client.submit("1" * 32)
        assert caught.value.code == "unauthorized"
    monkeypatch.setenv("LDIFFUSION_KEY", tenants.tokens["lab-b"])
    with Client(tenants.url) as client:
        assert client.upload(path).tenant == "lab-b"
    with pytest.raises(RemoteError, match="other characters"):
        Client(tenants.url, "ldk_ü\n")


def test_nobody_compares_a_job_with_anothers(tenants_with: Callable[..., Tenants], gateway_settings: Settings) -> None:
    store = Store(gateway_settings.data_dir)
    own, theirs = (finished_job(store, tenant=tenant) for tenant in ("lab-a", "lab-b"))
    client = tenants_with().clients["lab-a"]
    for part in ("", ".dzi", "_files/0/0_0.png"):
        answers = [client.get(f"/v1/jobs/{own}/difference/{other}{part}") for other in (theirs, new_id())]
        assert [answer.status_code for answer in answers] == [404, 404]
        assert {answer.json()["error"]["code"] for answer in answers} == {"job_not_found"}
