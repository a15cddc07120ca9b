"""Kills, by SIGKILL, of each part of a server and of all of it, at a time that the seed chooses."""

import random
import threading
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from fault_fixtures import Faulted, Serve, settle
from fault_processes import awaited
from fault_report import Faults
from tus_fixtures import Tus, metadata

pytestmark = [pytest.mark.process, pytest.mark.faults, pytest.mark.timeout(900)]


@pytest.mark.parametrize(("kind", "times"), [("plan", 5), ("region", 12), ("finish", 12)])
def test_workers(faulted: Faulted, faults: Faults, chance: random.Random, kind: str, times: int) -> None:
    for _ in range(times):
        job_id = faulted.submit()
        pid = awaited(lambda: faulted.at_work(kind, job_id))  # noqa: B023 (called before the next round)
        time.sleep(chance.random() * (0.6 if kind == "finish" else 0.15))
        faulted.strike(pid)
        faults.did(f"worker killed at a {kind}")
    settle(faulted, faults)


def test_gateways_that_take_a_slide(faulted: Faulted, faults: Faults, chance: random.Random) -> None:
    body = faulted.slide.read_bytes()
    for _ in range(4):
        sent = chance.randrange(len(body))
        head = f"PUT /v1/slides?filename=made.tif HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        with faulted.connection() as connection:
            connection.sendall(head.encode() + body[:sent])
            time.sleep(chance.random() * 0.2)
            faulted.kill("gateway")
        faults.did("gateway killed at a PUT")
    faulted.put_slide()
    settle(faulted, faults)


def test_gateways_that_take_pieces_of_a_slide(faulted: Faulted, faults: Faults, chance: random.Random) -> None:
    body = faulted.slide.read_bytes()
    tus = Tus(str(faulted.http.base_url), faulted.settings)
    with tus.http:
        address = tus.new(len(body), Upload_Metadata=metadata(filename="made.tif"))
        for _ in range(6):
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


def test_gateways_that_send_events(faulted: Faulted, faults: Faults, chance: random.Random) -> None:
    for _ in range(5):
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


def test_gateways_that_take_a_job(faulted: Faulted, faults: Faults, chance: random.Random) -> None:
    for _ in range(6):
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


@pytest.mark.parametrize(("part", "times"), [("queue", 8), ("supervisor", 4), ("everything", 4)])
def test_what_others_rest_on(faulted: Faulted, faults: Faults, chance: random.Random, part: str, times: int) -> None:
    for _ in range(times):
        for _ in range(2):
            faulted.submit()
        time.sleep(chance.random() * 2)
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
    serve_faulted: Serve, random_model: Path, faults: Faults, chance: random.Random
) -> None:
    server = serve_faulted(model=random_model, is_real=True)
    for _ in range(3):
        job_id = server.submit()
        awaited(lambda: server.view(job_id)["regions_done"] > 0)  # noqa: B023 (called before the next round)
        server.strike(chance.choice(server.pids("worker")))
        faults.did("worker with a real network killed")
    settle(server, faults)
