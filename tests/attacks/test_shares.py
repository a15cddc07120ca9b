"""One tenant takes all it can get of a real gateway; another one works on as if it were alone."""

import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from attack_fixtures import attacked_gateway
from made_models import write_model_config
from made_slides import write_slide

from server.access.keys import Keys
from workers.core.settings import Settings

pytestmark = [pytest.mark.process, pytest.mark.slow]

TUS = {"Tus-Resumable": "1.0.0"}
IN_TIME_S = 10.0
"""Of a machine with much else to do."""

JOB_BYTES = 4 * 2**20
"""More than the slide of these tests, and about what a job on it may take."""

GREEDY, MODEST = "lab-a", "lab-b"


class Shared:
    """A gateway with two tenants, each of which has a slide."""

    def __init__(self, url: str, tokens: dict[str, str], slide: bytes, stack: ExitStack) -> None:
        self.clients = {
            tenant: stack.enter_context(
                httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60, trust_env=False)
            )
            for tenant, token in tokens.items()
        }
        self.slide = slide
        self.slides = {tenant: self.upload(tenant) for tenant in tokens}

    def upload(self, tenant: str) -> str:
        """Send the slide as one tus upload, in one request, and return its id once it is a slide."""
        client = self.clients[tenant]
        headers = TUS | {"Upload-Length": str(len(self.slide)), "Content-Type": "application/offset+octet-stream"}
        answer = client.post(
            "/v1/uploads", headers=headers | {"Upload-Metadata": "filename YS50aWY="}, content=self.slide
        )
        assert answer.status_code == 201, answer.text
        deadline = time.monotonic() + 60
        while (upload := client.get(answer.headers["location"]).json())["state"] == "checking":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert upload["state"] == "ready", upload
        return str(upload["slide_id"])

    def announce(self, tenant: str, length: int) -> httpx.Response:
        return self.clients[tenant].post("/v1/uploads", headers=TUS | {"Upload-Length": str(length)})

    def ask(self, tenant: str, kind: str, seed: int = 0) -> httpx.Response:
        """Ask for a job, or for a batch of one."""
        slide = self.slides[tenant]
        named = {"slide_id": slide} if kind == "jobs" else {"slide_ids": [slide]}
        return self.clients[tenant].post(f"/v1/{kind}", json=named | {"model": "made-model", "seed": seed})

    def clear(self) -> None:
        """Remove what tests made, but for the slides."""
        for client in self.clients.values():
            for batch in client.get("/v1/batches", params={"limit": 100}).json()["items"]:
                client.delete(f"/v1/batches/{batch['id']}", params={"jobs": True})
            for job in client.get("/v1/jobs").json()["items"]:
                client.delete(f"/v1/jobs/{job['id']}")
            for upload in client.get("/v1/uploads", params={"limit": 1000}).json()["items"]:
                client.delete(f"/v1/uploads/{upload['id']}", headers=TUS)


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, "" if answer.is_success else answer.json()["error"]["code"]


@contextmanager
def served(queue: str, folder: Path, **limits: Any) -> Iterator[Shared]:
    """Run a gateway with these limits."""
    write_model_config(folder / "models" / "made-model")
    slide = write_slide(folder / "made.tif", np.full((300, 300, 3), 200, np.uint8), mpp=0.5).read_bytes()
    settings = Settings(
        data_dir=folder / "data", models_dir=folder / "models", redis_url=queue, disk_reserve_bytes=0, **limits
    )
    settings.data_dir.mkdir(mode=0o700)
    keys = Keys(settings.data_dir)
    tokens = {tenant: keys.create(tenant, tenant, ("read", "submit"))[1] for tenant in (GREEDY, MODEST)}
    with ExitStack() as stack:
        attacked = stack.enter_context(attacked_gateway(settings, folder / "log"))
        yield Shared(f"http://127.0.0.1:{attacked.port}", tokens, slide, stack)


@pytest.fixture(scope="module")
def running(gateway_queue: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """A gateway with small limits and no quota."""
    folder = tmp_path_factory.mktemp("shares")
    limits = {"batches_per_tenant": 5, "event_listeners_max": 6, "event_listeners_per_tenant": 4}
    with served(gateway_queue, folder, upload_max_bytes=2**50, **limits) as made:
        yield made


@pytest.fixture
def shared(running: Shared) -> Iterator[Shared]:
    yield running
    running.clear()


def test_a_thousand_announcements_of_one_leave_room_for_the_other(shared: Shared, tmp_path: Path) -> None:
    length = max(1, shutil.disk_usage(tmp_path).free // 50)
    told = Counter(code_of(shared.announce(GREEDY, length)) for _ in range(1000))
    assert set(told) == {(201, ""), (429, "uploads_exceeded")}
    assert 15 <= told[201, ""] <= 25  # of 50 that the disk has room for
    error = shared.announce(GREEDY, length).json()["error"]
    assert error["accepted"].startswith("at most ")
    assert f"{length} more wanted" in error["value"]
    first = shared.clients[GREEDY].get("/v1/uploads").json()["items"][0]
    assert shared.clients[GREEDY].delete(f"/v1/uploads/{first['id']}", headers=TUS).status_code == 204
    assert shared.announce(GREEDY, length).status_code == 201  # whoever takes one back may announce another
    started = time.monotonic()
    assert code_of(shared.announce(MODEST, 8 * length)) == (201, "")
    shared.upload(MODEST)
    assert time.monotonic() - started < IN_TIME_S


def test_batches_in_a_loop_are_so_many_and_no_more(shared: Shared) -> None:
    told = Counter(code_of(shared.ask(GREEDY, "batches", seed)) for seed in range(50))
    assert told == {(202, ""): 5, (429, "quota_exceeded"): 45}
    started = time.monotonic()
    answer = shared.ask(MODEST, "batches")
    assert code_of(answer) == (202, "")
    assert [batch["id"] for batch in shared.clients[MODEST].get("/v1/batches").json()["items"]] == [answer.json()["id"]]
    assert time.monotonic() - started < IN_TIME_S
    assert shared.clients[GREEDY].get("/v1/usage").json()["batches"] == 5


def test_event_streams_are_as_many_as_are_documented(shared: Shared) -> None:
    jobs = {tenant: shared.ask(tenant, "jobs").json()["id"] for tenant in (GREEDY, MODEST)}
    pieces: list[Iterator[bytes]] = []  # one that is let go of hangs up
    with ExitStack() as open_streams:

        def follow(tenant: str) -> tuple[int, str]:
            stream = shared.clients[tenant].stream("GET", f"/v1/jobs/{jobs[tenant]}/events")
            answer = open_streams.enter_context(stream)
            if answer.is_success:
                pieces.append(answer.iter_bytes())
                assert next(pieces[-1]).startswith(b"retry: ")
                return answer.status_code, ""
            answer.read()
            return code_of(answer)

        assert [follow(GREEDY) for _ in range(6)] == [(200, "")] * 4 + [(429, "quota_exceeded")] * 2
        assert [follow(MODEST) for _ in range(3)] == [(200, "")] * 2 + [(503, "too_many_listeners")]
    deadline = time.monotonic() + 30
    while follow_once(shared, jobs[GREEDY]) != 200:  # those that hung up make room, at the next sign of life
        assert time.monotonic() < deadline
        time.sleep(0.2)


def follow_once(shared: Shared, job_id: str) -> int:
    with shared.clients[GREEDY].stream("GET", f"/v1/jobs/{job_id}/events") as answer:
        return answer.status_code


@pytest.fixture(scope="module")
def bounded(gateway_queue: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """A gateway with a quota for a few jobs."""
    with served(gateway_queue, tmp_path_factory.mktemp("quota"), quota_bytes=4 * JOB_BYTES) as made:
        yield made


def test_results_fill_a_quota_and_no_more_than_that(bounded: Shared) -> None:
    told = Counter(code_of(bounded.ask(GREEDY, "jobs", seed)) for seed in range(60))
    assert set(told) == {(202, ""), (429, "quota_exceeded")}
    usage = bounded.clients[GREEDY].get("/v1/usage").json()
    assert usage["jobs"] == told[202, ""] >= 2
    assert usage["quota_bytes"] - 2 * JOB_BYTES < usage["stored_bytes"] <= usage["quota_bytes"]
    assert code_of(bounded.announce(GREEDY, 2 * JOB_BYTES)) == (429, "quota_exceeded")
    started = time.monotonic()
    bounded.upload(MODEST)
    assert code_of(bounded.ask(MODEST, "jobs")) == (202, "")
    assert time.monotonic() - started < IN_TIME_S
    for job in bounded.clients[GREEDY].get("/v1/jobs").json()["items"]:
        bounded.clients[GREEDY].delete(f"/v1/jobs/{job['id']}")
    assert code_of(bounded.ask(GREEDY, "jobs", 99)) == (202, "")
