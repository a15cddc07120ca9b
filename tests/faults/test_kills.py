"""Kills, by SIGKILL, of each part of a server and of all of it, at a time that the seed chooses."""

import random
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from fault_fixtures import Faulted, Serve, settle
from fault_processes import awaited
from fault_report import Extent, Faults
from tus_fixtures import Tus, metadata

pytestmark = [pytest.mark.process, pytest.mark.faults, pytest.mark.timeout(900)]


STRUCK_MAX = 3
"""Kills that a job gets at most: fewer than it has tries."""


def caught(server: Faulted, kind: str, struck: Counter[str]) -> int:
    """Return the process of a worker that has such a task at hand; ask for jobs until there is one.

    Args:
        server: Which.
        kind: Of the task.
        struck: How often each job was struck; this one is counted.
    """

    def found() -> tuple[str, int] | None:
        spared = {job_id for job_id, count in struck.items() if count >= STRUCK_MAX}
        return server.task_at_work(kind, set(server.jobs) - spared)

    while True:
        server.submit()
        with suppress(AssertionError):
            job_id, pid = awaited(found, 20)
            struck[job_id] += 1
            return pid


@pytest.mark.parametrize(("kind", "times"), [("plan", 4), ("region", 10), ("finish", 10)])
def test_workers(
    faulted: Faulted, faults: Faults, chance: random.Random, extent: Extent, kind: str, times: int
) -> None:
    if kind != "plan":
        faulted.submit()  # one that is ahead
    struck: Counter[str] = Counter()
    for _ in extent.times(times):
        pid = caught(faulted, kind, struck)
        time.sleep(chance.random() * (0.4 if kind == "finish" else 0.15))
        faulted.strike(pid)
        faults.did(f"worker killed at a {kind}")
    settle(faulted, faults)


def test_gateways_that_take_a_slide(faulted: Faulted, faults: Faults, chance: random.Random, extent: Extent) -> None:
    body = faulted.slide.read_bytes()
    for _ in extent.times(4):
        sent = chance.randrange(len(body))
        head = f"PUT /v1/slides?filename=made.tif HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        with faulted.connection() as connection:
            connection.sendall(head.encode() + body[:sent])
            time.sleep(chance.random() * 0.2)
            faulted.kill("gateway")
        faults.did("gateway killed at a PUT")
    faulted.put_slide()
    settle(faulted, faults)


def test_gateways_that_take_pieces_of_a_slide(
    faulted: Faulted, faults: Faults, chance: random.Random, extent: Extent
) -> None:
    body = faulted.slide.read_bytes()
    tus = Tus(str(faulted.http.base_url), faulted.settings)
    with tus.http:
        address = tus.new(len(body), Upload_Metadata=metadata(filename="made.tif"))
        for _ in extent.times(5):
            head = faulted.ask("HEAD", address, headers={"Tus-Resumable": "1.0.0"})
            offset = int(head.headers["upload-offset"])
            rest = body[offset:]
            with tus.begin_patch(address, offset, len(rest), rest[: chance.randrange(1, max(2, len(rest) // 3))]):
                time.sleep(chance.random() * 0.2)
                faulted.kill("gateway")
            faults.did("gateway killed at a piece of a resumable upload")
        faulted.ask("HEAD", address, headers={"Tus-Resumable": "1.0.0"})  # waits for the new one
        tus.finish(address, body)
        faulted.slides.append(str(tus.view(address)["slide_id"]))
    settle(faulted, faults)


def test_gateways_that_send_events(faulted: Faulted, faults: Faults, chance: random.Random, extent: Extent) -> None:
    for _ in extent.times(5):
        job_id = faulted.submit()
        done, seen, kill_at = [], "", chance.randrange(1, 6)
        for _ in range(50):
            try:
                for event_id, kind, data in faulted.events(job_id, seen):
                    seen = event_id
                    done.append((int(data["regions_done"]), kind))
                    if len(done) == kill_at:
                        faulted.kill("gateway")
                        faults.did("gateway killed at a stream of events")
            except httpx.TransportError:
                time.sleep(0.1)
            if done and done[-1][1] == "end":
                break
        assert [count for count, _ in done] == sorted(count for count, _ in done)
        assert [kind for _, kind in done].count("end") == 1
    settle(faulted, faults)


def test_gateways_that_take_a_job(faulted: Faulted, faults: Faults, chance: random.Random, extent: Extent) -> None:
    for _ in extent.times(5):
        asked = faulted.request()
        url = str(faulted.http.base_url)

        def ask() -> None:
            with suppress(httpx.TransportError):
                httpx.post(f"{url}/v1/jobs", **asked, timeout=60, trust_env=False)  # noqa: B023 (joined below)

        thread = threading.Thread(target=ask)
        thread.start()
        time.sleep(chance.random() * 0.05)
        faulted.kill("gateway")
        thread.join()
        faults.did("gateway killed at a submitted job")
        faulted.noted(faulted.ask("POST", "/v1/jobs", **asked))
    settle(faulted, faults)


@pytest.mark.parametrize(("part", "times"), [("queue", 6), ("supervisor", 3), ("everything", 2)])
def test_what_others_rest_on(
    faulted: Faulted, faults: Faults, chance: random.Random, extent: Extent, part: str, times: int
) -> None:
    for _ in extent.times(times):
        for _ in range(2):
            faulted.submit()
        time.sleep(chance.random() * 1.5)
        if part == "queue":
            faulted.kill("queue")
        elif part == "everything":
            faulted.kill_everything()
            faulted.start()
        else:
            faulted.supervisor.kill()
            faulted.supervisor.wait()
            faulted.start()
        faults.did(f"{part} killed")
    settle(faulted, faults)


def test_workers_with_a_real_network(
    serve_faulted: Serve, random_model: Path, faults: Faults, chance: random.Random, extent: Extent
) -> None:
    server = serve_faulted(model=random_model, is_real=True)
    for _ in extent.times(3):
        job_id = server.submit()
        awaited(lambda: server.view(job_id)["regions_done"] > 0)  # noqa: B023 (called before the next round)
        server.strike(chance.choice(server.pids("worker")))
        faults.did("worker with a real network killed")
    settle(server, faults)
