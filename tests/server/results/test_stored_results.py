"""Results out of the storage: the answers are those of the files, byte for byte and header for header."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from finished_jobs import FILES, storable_job
from gateway_fixtures import GatewayWith
from storages import BUCKET, SECRET

from workers.core.settings import Settings
from workers.core.storage.opening import open_storage
from workers.core.store import Store
from workers.core.stored.results import publish

pytestmark = pytest.mark.process

OVERLAY = FILES["overlay.ome.tif"]
RANGES = [
    "bytes=0-0",
    "bytes=5-99",
    "bytes=2999990-",
    "bytes=-7",
    "bytes=0-2999999",
    "bytes=2999999-9999999",
    "bytes=3000000-",
    "bytes=9-5",
    "bytes=-0",
    "Bytes = 5 - 9",
    "bytes=-99999999",
    "bytes=-",
    "bytes=a-b",
    "pages=1-2",
    "bytes 1-2",
]
TOLD = (
    "content-type",
    "content-length",
    "content-range",
    "accept-ranges",
    "etag",
    "cache-control",
    "content-disposition",
)


@pytest.fixture(params=["folder", "bucket"])
def settings(request: pytest.FixtureRequest, gateway_settings: Settings, tmp_path: Path) -> Settings:
    if request.param == "folder":
        return gateway_settings.model_copy(update={"storage_url": f"file://{tmp_path}/storage"})
    told = {
        "data_dir": gateway_settings.data_dir,
        "models_dir": gateway_settings.models_dir,
        "redis_url": gateway_settings.redis_url,
        "storage_url": f"s3://{BUCKET}/gateway/{tmp_path.name}",
        "storage_endpoint": request.getfixturevalue("moto_server"),
        "storage_region": "eu-central-1",
        "storage_access_key_id": "AKIDEXAMPLE",
        "storage_secret_access_key": SECRET,
    }
    return Settings(**told)


@pytest.fixture
def store(settings: Settings) -> Store:
    return Store(settings.data_dir, open_storage(settings))


@pytest.fixture
def job_id(store: Store) -> str:
    job_id = storable_job(store)
    publish(store, job_id, 1)
    return job_id


@pytest.fixture
def client(settings: Settings, gateway_with: GatewayWith) -> Iterator[httpx.Client]:
    with gateway_with(settings) as url, httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        yield client


def test_every_answer_is_that_of_the_file(client: httpx.Client, store: Store, job_id: str) -> None:
    asked: list[tuple[str, str, dict[str, str]]] = [
        ("GET", "overlay.ome.tif", {}),
        ("HEAD", "overlay.ome.tif", {}),
        ("HEAD", "overlay.ome.tif", {"range": "bytes=1-2"}),
        ("GET", "statistics", {}),
        ("GET", "statistics.csv", {}),
        *(("GET", "overlay.ome.tif", {"range": given}) for given in RANGES),
        ("GET", "overlay.ome.tif", {"range": "bytes=1-2", "if-range": '"another"'}),
    ]

    def answers() -> list[tuple[object, ...]]:
        found = []
        for method, name, headers in asked:
            answer = client.request(
                method, f"/v1/jobs/{job_id}/{name}", headers={"accept-encoding": "identity", **headers}
            )
            body = answer.json() | {"request_id": ""} if answer.status_code >= 400 else answer.content
            found.append((answer.status_code, body, *(answer.headers.get(each) for each in TOLD)))
        return found

    before = answers()
    assert before[0][1] == OVERLAY
    for name in FILES:
        (store.job_dir(job_id) / name).unlink()
    after = answers()
    for request, file, stored in zip(asked, before, after, strict=True):
        assert stored == file, request
    assert not (store.job_dir(job_id) / "overlay.ome.tif").exists(), "it is not fetched for that"
    etag = client.head(f"/v1/jobs/{job_id}/overlay.ome.tif").headers["etag"]
    path = f"/v1/jobs/{job_id}/overlay.ome.tif"
    assert client.get(path, headers={"if-none-match": etag}).status_code == 304
    part = client.get(path, headers={"range": "bytes=1-2", "if-range": etag})
    assert (part.status_code, part.content) == (206, OVERLAY[1:3])
    whole = client.get(path, headers={"range": "bytes=1-2,5-6"})
    assert (whole.status_code, whole.content) == (200, OVERLAY)


def test_polygons_are_fetched_to_be_changed_on_their_way_out(client: httpx.Client, store: Store, job_id: str) -> None:
    path = store.job_dir(job_id) / "regions.geojson.gz"
    path.unlink()
    answer = client.get(f"/v1/jobs/{job_id}/regions.geojson.gz")
    assert (answer.status_code, answer.content) == (200, FILES["regions.geojson.gz"])
    assert path.read_bytes() == FILES["regions.geojson.gz"]


def test_where_the_operator_wants_it_clients_are_sent_to_the_bucket(
    settings: Settings, gateway_with: GatewayWith, store: Store, job_id: str
) -> None:
    for name in FILES:
        (store.job_dir(job_id) / name).unlink()
    sent = settings.model_copy(update={"storage_redirect": True})
    with gateway_with(sent) as url, httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        answer = client.get(f"/v1/jobs/{job_id}/overlay.ome.tif")
        if settings.storage_url.startswith("file"):
            assert (answer.status_code, answer.content) == (200, OVERLAY)
            return
        assert answer.status_code == 307
        assert answer.headers["cache-control"] == "no-store"
        address = urlsplit(answer.headers["location"])
        assert f"{address.scheme}://{address.netloc}" == settings.storage_endpoint
        assert SECRET not in answer.headers["location"]
        assert httpx.get(answer.headers["location"], trust_env=False).content == OVERLAY
        etag = f'"{store.read_result(job_id).files["overlay.ome.tif"]}"'
        assert client.get(f"/v1/jobs/{job_id}/overlay.ome.tif", headers={"if-none-match": etag}).status_code == 304


def test_a_storage_that_does_not_answer_is_no_fault_of_the_client(
    settings: Settings, gateway_with: GatewayWith, store: Store, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store.job_dir(job_id) / "overlay.ome.tif").unlink()
    monkeypatch.setattr("workers.core.storage.s3.RETRIES", 0)
    told = settings.model_dump() | {"storage_url": "s3://results", "storage_endpoint": "http://127.0.0.1:9"}
    told |= {"storage_access_key_id": "AKIDEXAMPLE", "storage_secret_access_key": SECRET}
    with gateway_with(Settings(**told)) as url, httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        answer = client.get(f"/v1/jobs/{job_id}/overlay.ome.tif")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "storage_fault")
        assert "127.0.0.1:9" not in answer.text
        assert client.get(f"/v1/jobs/{job_id}/statistics").status_code == 200
