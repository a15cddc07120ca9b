"""Two hundred who ask again and again, and two hundred who follow events, while a gateway is killed."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable

import httpx
import pytest
from fault_fixtures import BUSY, CROWD, Faulted, settle
from fault_report import Faults

pytestmark = [pytest.mark.process, pytest.mark.faults, pytest.mark.timeout(900)]

PATIENCE_S = 240
Seen = list[int]


async def poll(client: httpx.AsyncClient, job_id: str) -> Seen:
    """Ask for a job until it has ended; return how many regions were done each time."""
    seen: Seen = []
    while True:
        try:
            answer = await client.get(f"/v1/jobs/{job_id}")
        except httpx.TransportError:
            continue
        if answer.status_code not in BUSY:
            seen.append(answer.json()["regions_done"])
            if answer.json()["finished_at"]:
                return seen
        await asyncio.sleep(1)


async def follow(client: httpx.AsyncClient, job_id: str) -> Seen:
    """Follow a job until its end, also over connections that break; return the regions done of each event."""
    seen: Seen = []
    last = kind = ""
    while True:
        headers = {"Last-Event-ID": last} if last else {}
        try:
            async with client.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as answer:
                async for line in answer.aiter_lines():
                    name, _, value = line.partition(": ")
                    if name == "id":
                        last = value
                    elif name == "event":
                        kind = value
                    elif name == "data":
                        seen.append(json.loads(value)["regions_done"])
                    if kind == "end" and not line:
                        return seen
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.2)


@pytest.mark.parametrize("way", [poll, follow])
def test_crowds(
    faulted: Faulted,
    faults: Faults,
    chance: random.Random,
    way: Callable[[httpx.AsyncClient, str], Awaitable[Seen]],
) -> None:
    jobs = [faulted.submit() for _ in range(4)]

    async def crowd() -> list[Seen]:
        limits = httpx.Limits(max_connections=2 * CROWD)
        async with httpx.AsyncClient(
            base_url=faulted.http.base_url, timeout=60, limits=limits, trust_env=False
        ) as client:
            everybody = [asyncio.ensure_future(way(client, jobs[number % len(jobs)])) for number in range(CROWD)]
            await asyncio.sleep(1 + 2 * chance.random())
            await asyncio.to_thread(faulted.kill, "gateway")
            faults.did(f"gateway killed among {CROWD} who {way.__name__}")
            return await asyncio.wait_for(asyncio.gather(*everybody), PATIENCE_S)

    for seen in asyncio.run(crowd()):
        assert seen == sorted(seen)
        assert seen[-1] == 12
    settle(faulted, faults)
