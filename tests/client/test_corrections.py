"""Both clients correct the objects of a job, against a real gateway."""

import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pyogrio.raw
import pytest
from both_clients import KINDS, client_of
from corrected_jobs import FEATURES, objects_of, put_job, square
from fiducials import Finished

from ldiffusion_client import Busy, Missing, Refused
from workers import product_tasks
from workers.core.products import product_path
from workers.core.settings import Settings
from workers.core.store import Store


@pytest.fixture(params=KINDS)
def either(gateway: httpx.Client, request: pytest.FixtureRequest) -> Iterator[Any]:
    with client_of(request.param, str(gateway.base_url)) as client:
        yield client


@pytest.fixture
def job_id(gateway: httpx.Client, gateway_settings: Settings, plain: Finished) -> str:
    return put_job(plain, gateway_settings.data_dir)


def test_objects_are_corrected_counted_and_taken_back(either: Any, gateway: httpx.Client, job_id: str) -> None:
    left, *_ = objects_of(gateway, job_id)
    assert (either.corrections(job_id).revision, either.correction_history(job_id)) == (0, [])
    made = either.correct(job_id, [{"action": "reject", "object": left["id"]}])
    assert (made.revision, made.items[0].state, made.items[0].author.name) == (1, "rejected", "local")
    either.correct(job_id, [{"action": "add", "class_name": "nucleus", "geometry": square(5, 5, 9)}], revision=1)
    with pytest.raises(Busy) as caught:
        either.correct(job_id, [{"action": "accept", "object": left["id"]}], revision=1)
    assert caught.value.code == "corrections_changed"
    (nucleus,) = either.correction_statistics(job_id).classes
    assert (nucleus.without.count, nucleus.corrected.count, nucleus.reviewed.added) == (3, 3, 1)
    assert either.undo_correction(job_id, 1).dropped == (left["id"],)
    assert [each.undo for each in either.correction_history(job_id)] == [None, None, 1]
    with pytest.raises(Refused):
        either.correct(job_id, [{"action": "add", "class_name": "nucleus", "geometry": square(-5, 5, 9)}])
    with pytest.raises(Missing):
        either.corrections("0" * 32)


def test_a_client_waits_for_the_index_that_its_first_correction_makes(
    either: Any, gateway_settings: Settings, plain: Finished
) -> None:
    job_id = put_job(plain, gateway_settings.data_dir, has_index=False)
    store = Store(gateway_settings.data_dir)

    def make() -> None:
        record = product_tasks.make(store, job_id, FEATURES)
        store.write_json(product_path(store, job_id, FEATURES).with_name(f"{FEATURES}.json"), record)

    index = pyogrio.raw.read(plain.product(FEATURES), columns=["id"])
    making = threading.Timer(1.0, make)
    making.start()
    made = either.correct(job_id, [{"action": "accept", "object": str(index[3][0][0])}], revision=0)
    making.join()
    assert made.items[0].state == "accepted"
