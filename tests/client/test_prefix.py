"""Both clients of a server below a path: addresses of their own, and those that its answers name."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from both_clients import KINDS, client_of
from finished_jobs import FILES, finished_job
from gateway_fixtures import running_gateway
from made_slides import MadeSlide

from ldiffusion_client.drivers import below
from workers.core.schemas import JobRequest
from workers.core.settings import Settings
from workers.core.store import Store

ROOT = "/lab/wsi"


@pytest.fixture(params=[f"{ROOT}", f"{ROOT}/"], ids=["bare", "slash"])
def served(request: pytest.FixtureRequest, gateway_settings: Settings) -> Iterator[str]:
    """Address of a gateway below a path, as a person may write it."""
    with running_gateway(gateway_settings.model_copy(update={"root_path": ROOT})) as url:
        yield f"{url}{request.param}"


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_is_given_the_address_with_its_path(
    kind: str, served: str, gateway_settings: Settings, made_slide: MadeSlide, tmp_path: Path
) -> None:
    path = made_slide(np.full((300, 300, 3), 200, np.uint8))
    with client_of(kind, served) as client:
        slide = client.upload(path)  # by the Location of its upload
        assert client.upload(path).id == slide.id
        job_id = finished_job(Store(gateway_settings.data_dir), JobRequest(slide_id=slide.id, model="made-model"))
        job: Any = client.job(job_id)
        assert job.results["result"] == f"{ROOT}/v1/jobs/{job_id}/result"
        assert {*client.download_results(job, tmp_path / "out")} >= {*FILES}
        link = client.link(job.results["statistics"])
        assert httpx.URL(link).path == job.results["statistics"]
        assert httpx.get(link, trust_env=False).status_code == 200
        assert client.wait(job_id).state == "succeeded"  # by its events


@pytest.mark.parametrize("base", ["http://h", "http://h/", "http://h/wsi", "http://h/wsi/", "http://h/a/b"])
@pytest.mark.parametrize("own", ["/v1/jobs", "/v1/jobs/0?a=/wsi/b", "/wsix/v1"])
def test_an_address_has_the_path_once(base: str, own: str) -> None:
    root = httpx.URL(base).path.rstrip("/")
    with httpx.Client(base_url=base) as http:
        for address in (own, f"{root}{own}"):
            asked = http.build_request("GET", below(http.base_url, address)).url
            assert asked == httpx.URL(f"http://h{root}{own}")
