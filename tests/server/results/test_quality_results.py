"""The quality layer over HTTP: listed and sent where a job was asked for it, and nowhere else."""

import gzip
import hashlib
import json

import httpx
import pytest
from finished_jobs import finished_job
from job_requests import add_slide, code_of, submit

from workers.core.schemas import JobRequest
from workers.core.settings import Settings
from workers.core.store import Store

LAYER = {"type": "FeatureCollection", "coordinate_space": "level0", "bounds_offset": [10, 20], "features": []}


def stored(store: Store, *, quality: bool) -> str:
    request = JobRequest(slide_id="1" * 32, model="made-model", quality=quality)
    job_id = finished_job(store, request)
    if quality:
        packed = gzip.compress(json.dumps(LAYER).replace("[]}", "[\n]}\n").encode())  # as it is written
        (store.job_dir(job_id) / "quality.geojson.gz").write_bytes(packed)
        record = store.read_result(job_id)
        files = record.files | {"quality.geojson.gz": hashlib.sha256(packed).hexdigest()}
        store.write_json(store.job_dir(job_id) / "result.json", record.model_copy(update={"files": files}))
    return job_id


def test_a_job_has_the_layer_if_it_was_asked_for(gateway: httpx.Client, gateway_settings: Settings) -> None:
    store = Store(gateway_settings.data_dir)
    with_layer, without = (stored(store, quality=asked) for asked in (True, False))
    names = {"quality.geojson", "quality.geojson.gz"}
    assert gateway.get(f"/v1/jobs/{with_layer}").json()["results"].keys() >= names
    assert not gateway.get(f"/v1/jobs/{without}").json()["results"].keys() & names
    for name in sorted(names):
        answer = gateway.get(f"/v1/jobs/{with_layer}/{name}")
        assert answer.status_code == 200
        content = gzip.decompress(answer.content) if name.endswith(".gz") else answer.content
        assert json.loads(content) == LAYER
        assert code_of(gateway.get(f"/v1/jobs/{without}/{name}")) == (404, "result_not_found")
    moved = gateway.get(f"/v1/jobs/{with_layer}/quality.geojson", params={"space": "qupath"}).json()
    assert (moved["coordinate_space"], moved["bounds_subtracted"]) == ("qupath", [10, 20])


@pytest.mark.parametrize(("asked", "expected"), [(True, ["ink", "fold", "blur"]), (["blur"], ["blur"])])
def test_a_job_says_what_it_leaves_out(
    gateway: httpx.Client, gateway_settings: Settings, asked: object, expected: list[str]
) -> None:
    slide_id = add_slide(Store(gateway_settings.data_dir), 0.5)
    answer = submit(gateway, slide_id, exclude_quality=asked, quality=True)
    assert answer.status_code == 202
    assert answer.json()["request"]["exclude_quality"] == expected
    assert code_of(submit(gateway, slide_id, exclude_quality=["dust"])) == (422, "invalid_request")
