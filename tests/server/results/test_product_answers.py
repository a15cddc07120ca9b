"""Products over HTTP: 202 until a worker has made them, then files that are kept for good; the OME-Zarr as a folder."""

import gzip
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import numpy as np
import openslide
import pytest
import zarr
from fiducials import MARKS, Finished
from pipeline_fixtures import work

from workers import tasks
from workers.core.queue.jobs import Jobs
from workers.core.queue.leases import Leases
from workers.core.settings import Settings
from workers.core.store import new_id
from workers.runtime import Runtime


@pytest.fixture
def settings(plain: Finished, queue_settings: Settings, tmp_path: Path) -> Settings:
    shutil.copytree(plain.store.root, tmp_path / "data", ignore=shutil.ignore_patterns("products"))
    return queue_settings


@pytest.fixture
def runtime(settings: Settings, colour: ModuleType) -> Iterator[Runtime]:
    jobs = Jobs(settings.redis_url, settings)
    yield tasks.configure(settings, Leases(jobs, new_id()), colour.ColourEngine)
    jobs.close()


@pytest.fixture
def client(plain: Finished, settings: Settings, gateway_with: Any) -> Iterator[httpx.Client]:
    with gateway_with(settings) as url:
        address = f"{url}/v1/jobs/{plain.job_id}/"
        with httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
            yield client


def made(client: httpx.Client, runtime: Runtime, address: str) -> httpx.Response:
    first = client.get(address)
    assert first.status_code == 202
    assert int(first.headers["retry-after"]) > 0
    assert first.headers["cache-control"] == "no-store"
    assert first.json()["state"] == "making"
    work(runtime)
    answer = client.get(address)
    assert answer.status_code == 200, answer.text
    return answer


@pytest.mark.parametrize(
    ("address", "media_type"),
    [
        ("confidence.ome.tif", "image/tiff"),
        ("overlay.ome.tif?layout=pages", "image/tiff"),
        ("overlay.ome.tif?layout=ome", "image/tiff"),
        ("features.fgb", "application/vnd.flatgeobuf"),
    ],
)
def test_a_file_is_made_with_the_first_question_and_kept(
    client: httpx.Client, runtime: Runtime, address: str, media_type: str
) -> None:
    answer = made(client, runtime, address)
    assert answer.headers["content-type"] == media_type
    etag = f'"{hashlib.sha256(answer.content).hexdigest()}"'
    assert answer.headers["etag"] == etag
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert client.get(address, headers={"if-none-match": etag}).status_code == 304
    part = client.get(address, headers={"range": "bytes=3-9"})
    assert (part.status_code, part.content) == (206, answer.content[3:10])


def test_a_layout_is_the_layout(client: httpx.Client, runtime: Runtime, tmp_path: Path) -> None:
    for layout, levels in (("pages", 3), ("ome", 1)):
        path = tmp_path / f"{layout}.tif"
        path.write_bytes(made(client, runtime, f"overlay.ome.tif?layout={layout}").content)
        with openslide.OpenSlide(path) as slide:
            assert slide.level_count == levels
    assert client.get("overlay.ome.tif", params={"layout": "hybrid"}).status_code == 200
    assert client.get("overlay.ome.tif", params={"layout": "other"}).status_code == 422


def test_simplified_regions_are_made_once_and_change_like_the_exact_ones(
    client: httpx.Client, runtime: Runtime
) -> None:
    exact = client.get("regions.geojson").json()
    answer = made(client, runtime, "regions.geojson?simplify=2")
    assert answer.headers["content-type"] == "application/geo+json"
    assert 'filename="regions-within-2px.geojson"' in answer.headers["content-disposition"]
    assert answer.json() == exact | {"simplified_px": 2}  # the marks are rectangles
    packed = client.get("regions.geojson.gz", params={"simplify": "2"})
    assert packed.content == client.get("regions-within-2px.geojson.gz").content
    assert json.loads(gzip.decompress(packed.content)) == answer.json()
    assert packed.headers["etag"] == answer.headers["etag"] == f'"{hashlib.sha256(packed.content).hexdigest()}"'
    assert client.get("regions.geojson.gz").headers["etag"] != packed.headers["etag"]
    changed = {"space": "qupath", "objects": "detection"}
    theirs, ours = (client.get("regions.geojson", params=changed | {"simplify": step}).json() for step in ("0", "2"))
    assert ours == theirs | {"simplified_px": 2}
    assert {each["properties"]["objectType"] for each in ours["features"]} == {"detection"}


@pytest.mark.parametrize("simplify", ["3", "-1", "0.5", "1e9", ""])
def test_a_step_that_has_no_name_is_refused(client: httpx.Client, simplify: str) -> None:
    assert client.get("regions.geojson", params={"simplify": simplify}).status_code == 422
    states = {each["state"] for each in client.get("products").json()["items"]}
    assert states == {"absent"}


def test_the_zarr_is_a_folder_that_zarr_opens(client: httpx.Client, runtime: Runtime, tmp_path: Path) -> None:
    early = client.get("labels.ome.zarr/zarr.json")
    assert (early.status_code, early.json()["error"]["code"]) == (409, "result_not_ready")
    assert made(client, runtime, "labels.ome.zarr").json()["state"] == "made"
    level = "labels/classes/0"
    chunks = [f"{level}/c/{row}/{col}" for row in range(2) for col in range(3)]
    for name in ("zarr.json", "labels/zarr.json", "labels/classes/zarr.json", f"{level}/zarr.json", *chunks):
        answer = client.get(f"labels.ome.zarr/{name}")
        if answer.status_code == 404:
            continue
        target = tmp_path / "z" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(answer.content)
        again = client.get(f"labels.ome.zarr/{name}", headers={"if-none-match": answer.headers["etag"]})
        assert again.status_code == 304
    pixels = np.asarray(zarr.open_array(tmp_path / "z", path=level, mode="r")[:])
    mark = MARKS[0]
    assert pixels.sum() == sum(each.width * each.height for each in MARKS) / 4
    assert pixels[mark.y // 2, mark.x // 2] == 1
    assert pixels[mark.y // 2 - 1, mark.x // 2] == 0


@pytest.mark.parametrize(
    "part", ["..%2fresult.json", "%2e%2e/%2e%2e/job.json", "labels", "labels//zarr.json", "%00", "x" * 300, ".hidden"]
)
def test_nothing_else_than_files_of_the_zarr_is_served(client: httpx.Client, runtime: Runtime, part: str) -> None:
    made(client, runtime, "labels.ome.zarr")
    answer = client.get(f"labels.ome.zarr/{part}")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] in ("result_not_found", "not_found")


def test_what_cannot_be_made_says_why(client: httpx.Client, runtime: Runtime) -> None:
    assert client.get("segmentation.dcm").status_code == 202
    work(runtime)
    answer = client.get("segmentation.dcm")
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "product_refused"
    assert "this slide did not come as DICOM" in answer.json()["error"]["message"]
    [found] = [each for each in client.get("products").json()["items"] if each["name"] == "segmentation.dcm"]
    assert (found["state"], found["error"]["code"]) == ("failed", "product_refused")


def test_features_are_asked_for_like_every_product(client: httpx.Client, runtime: Runtime) -> None:
    assert len(made(client, runtime, "features").json()["features"]) == 3
    first = client.get("features", params={"limit": 2}).json()
    rest = client.get("features", params={"limit": 2, "cursor": first["next_cursor"]})
    assert (len(first["features"]), len(rest.json()["features"]), rest.json()["next_cursor"]) == (2, 1, None)
    assert client.get("features", params={"cursor": "-1"}).status_code == 422
    states = {each["name"]: each["state"] for each in client.get("products").json()["items"]}
    assert states["features.fgb"] == "made"
    assert set(states.values()) == {"made", "absent"}


def test_a_deleted_job_has_no_products(client: httpx.Client, runtime: Runtime, settings: Settings) -> None:
    made(client, runtime, "confidence.ome.tif")
    assert client.delete(str(client.base_url).rstrip("/")).status_code == 204
    assert client.get("confidence.ome.tif").status_code == 404
    assert client.get("products").status_code == 404
    assert list((settings.data_dir / "jobs").glob("*/products")) == []
