"""A storage that takes nothing: a slide that is not in it is no slide, and nothing that was acknowledged is lost."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from gateway_fixtures import GatewayWith
from numpy.typing import NDArray
from queue_fixtures import until
from tus_fixtures import Tus

from workers.core.errors.base import DiskFull
from workers.core.settings import Settings
from workers.core.storage.base import StorageSilent
from workers.core.storage.local import LocalStorage

pytestmark = pytest.mark.process

ASKED = {"model": "made-model", "region_px": 256}


@pytest.fixture
def shared(gateway_settings: Settings, tmp_path: Path) -> Settings:
    return gateway_settings.model_copy(update={"storage_url": f"file://{tmp_path}/storage"})


@pytest.fixture
def slide(made_slide: Callable[..., Path], stained: NDArray[np.uint8]) -> bytes:
    return made_slide(stained).read_bytes()


class Outage:
    """A folder as a storage that takes nothing while it lasts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lasts = True
        self._put = LocalStorage.put
        outage = self

        def put(storage: LocalStorage, *given: Any) -> Any:
            if outage.lasts:
                raise StorageSilent("it does not answer")
            return outage._put(storage, *given)

        monkeypatch.setattr(LocalStorage, "put", put)


def test_a_slide_that_the_storage_does_not_take_is_no_slide_and_a_resumable_one_waits(
    shared: Settings, slide: bytes, gateway_with: GatewayWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.uploads.service.SWEEP_S", 0.1)
    with gateway_with(shared) as url:
        tus = Tus(url, shared)
        outage = Outage(monkeypatch)
        answer = tus.http.put("/v1/slides", params={"filename": "made.tif"}, content=slide)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "storage_fault")
        for name in ("slides", "incoming"):
            assert list((shared.data_dir / name).iterdir()) == []
        address = tus.new(len(slide), Upload_Metadata="filename bWFkZS50aWY=")
        assert tus.patch(address, 0, slide).status_code == 204
        time.sleep(1)  # some tries
        assert tus.view(address)["state"] == "checking"
        outage.lasts = False
        view = tus.ended(address)
        assert view["state"] == "ready"
        assert (shared.data_dir / "slides" / view["slide_id"] / "original.tif").read_bytes() == slide
        shutil.rmtree(shared.data_dir / "slides" / view["slide_id"])
        until(lambda: tus.http.get(f"/v1/slides/{view['slide_id']}").status_code == 200)
        outage.lasts = True
        answer = tus.http.post("/v1/jobs", json={"slide_id": view["slide_id"], **ASKED})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "storage_fault")
        assert list((shared.data_dir / "jobs").iterdir()) == []
        tus.http.close()


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [(DiskFull("It has no room."), 507, "disk_full"), (OSError(30, "It is read-only."), 503, "storage_fault")],
)
def test_a_job_that_the_disk_does_not_take_is_not_in_the_storage_either(
    shared: Settings, slide: bytes, gateway_with: GatewayWith, tmp_path: Path, fault: Exception, status: int, code: str
) -> None:
    def refuse(*_: object) -> None:
        raise fault

    with gateway_with(shared) as url, httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        slide_id = client.put("/v1/slides", params={"filename": "made.tif"}, content=slide).json()["id"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("workers.core.store.write_json", refuse)
            answer = client.post("/v1/jobs", json={"slide_id": slide_id, **ASKED})
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert not [path for path in (tmp_path / "storage" / "jobs").rglob("*") if path.is_file()]
        taken = client.post("/v1/jobs", json={"slide_id": slide_id, **ASKED}).json()["id"]
        assert (tmp_path / "storage" / "jobs" / taken / "job.json").is_file()
