"""Kills while slides and results are on their way into a storage, a storage that stands still, and its account."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import httpx
import psutil
import pytest
from fault_fixtures import Faulted, Serve, settle
from fault_processes import awaited
from fault_report import Extent, Faults
from fault_storage import FaultStorage, MakeFaultStorage, MotoBucket

pytestmark = [pytest.mark.process, pytest.mark.faults, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def stored(serve_faulted: Serve, make_stored: MakeFaultStorage) -> Faulted:
    """A server with a storage, whatever the run is to have."""
    return serve_faulted(stored=make_stored())


def storage_of(server: Faulted) -> FaultStorage:
    assert server.stored is not None
    return server.stored


def test_workers_that_store_results(stored: Faulted, faults: Faults, chance: random.Random, extent: Extent) -> None:
    for _ in extent.times(6):
        job_id = stored.submit()
        pid = awaited(lambda: stored.at_work("publish", job_id))  # noqa: B023 (called before the next round)
        time.sleep(chance.random() * 0.25)
        stored.strike(pid)
        faults.did("worker killed while it stores results")
    settle(stored, faults)


def test_gateways_that_store_a_slide(stored: Faulted, faults: Faults, chance: random.Random, extent: Extent) -> None:
    body, url = stored.slide.read_bytes(), str(stored.http.base_url)
    storage = storage_of(stored)

    def put() -> None:
        with suppress(httpx.TransportError):
            httpx.put(f"{url}/v1/slides?filename=made.tif", content=body, timeout=60, trust_env=False)

    for _ in extent.times(4):
        before = set(storage.keys("slides/"))
        thread = threading.Thread(target=put)
        thread.start()
        awaited(lambda: set(storage.keys("slides/")) - before)  # noqa: B023 (called before the next round)
        time.sleep(chance.random() * 0.01)
        stored.kill("gateway")
        thread.join()
        faults.did("gateway killed while it stores a slide")
        seen = {str(slide["id"]) for slide in stored.listed("slides")}  # waits for the new one
        stored.slides += sorted(seen - set(stored.slides))  # that was whole, and only not answered
    stored.put_slide()
    settle(stored, faults)


def test_a_storage_that_stands_still(stored: Faulted, faults: Faults, chance: random.Random, extent: Extent) -> None:
    storage = storage_of(stored)
    if not isinstance(storage, MotoBucket):
        pytest.skip("a folder does not stand still")
    moto = next(child for child in psutil.Process().children() if "moto.server" in " ".join(child.cmdline()))
    for seconds in extent.some((2.0, 5.0)):
        job_id = stored.submit()
        awaited(lambda: stored.at_work("finish", job_id))  # noqa: B023 (called before the next round)
        time.sleep(chance.random())
        os.kill(moto.pid, signal.SIGSTOP)
        try:
            faults.did("storage stopped for seconds")
            time.sleep(seconds)
        finally:
            os.kill(moto.pid, signal.SIGCONT)
    settle(stored, faults)


def flip_a_byte(storage: FaultStorage, job_id: str) -> Callable[[], None]:
    key = next(key for key in storage.keys(f"jobs/{job_id}/results/files/") if key.endswith("regions.geojson.gz"))
    content = storage.get(key)
    storage.put(key, content[:-1] + bytes([content[-1] ^ 1]))
    return lambda: storage.put(key, content)


def lose_an_object(storage: FaultStorage, job_id: str) -> Callable[[], None]:
    key = storage.keys(f"jobs/{job_id}/results/files/")[-1]
    content = storage.get(key)
    storage.delete(key)
    return lambda: storage.put(key, content)


def leave_a_staged_object(storage: FaultStorage, job_id: str) -> Callable[[], None]:
    key = f"jobs/{job_id}/results/files/{10**19}/overlay.ome.tif"
    storage.put(key, b"late")
    return lambda: storage.delete(key)


HARMS = (flip_a_byte, lose_an_object, leave_a_staged_object)


def test_the_account_sees(stored: Faulted, extent: Extent, monkeypatch: pytest.MonkeyPatch) -> None:
    stored.ended(stored.submit())
    for harm in extent.some(HARMS):
        with monkeypatch.context() as patch:
            patch.setattr("fault_fixtures.HEALTH_S", 1.0)
            undo = harm(storage_of(stored), stored.jobs[-1])
            with pytest.raises(AssertionError):
                settle(stored, Faults())
        undo()
    settle(stored, Faults())
