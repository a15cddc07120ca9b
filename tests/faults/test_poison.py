"""Regions that ruin their worker, workers that stand still past their lease, a gateway and a queue that hang."""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from fault_fixtures import Faulted, Serve, settle
from fault_processes import awaited
from fault_report import Faults

pytestmark = [pytest.mark.process, pytest.mark.faults, pytest.mark.timeout(900)]

LEASE_S = 5.0
POISON_CODES = {1: "job_lost", 2: "job_lost", 3: "internal_error", 4: "job_lost", 5: "out_of_memory"}
"""Seed of a poisoned job (see `fault_worker.py`) → the code that it fails with."""
NAMES = {1: "ends its worker", 2: "kills its worker", 3: "raises", 4: "hangs in C", 5: "eats memory"}


@pytest.fixture(scope="module")
def poisoned(serve_faulted: Serve) -> Faulted:
    """A server that tries a task twice, for 12 s."""
    return serve_faulted(task_retries=1, job_timeout_s=12.0, job_memory_bytes=2**30, lease_s=LEASE_S)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Have a process stand still."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("seed", NAMES, ids=NAMES.values())
def test_poison(poisoned: Faulted, faults: Faults, seed: int) -> None:
    bad = poisoned.submit(seed=seed)
    poisoned.failing[bad] = POISON_CODES[seed]
    poisoned.submit()
    faults.did(f"region that {NAMES[seed]}")
    settle(poisoned, faults)


@pytest.mark.parametrize(("kind", "times"), [("region", 3), ("finish", 3)])
def test_workers_that_stand_still_past_their_lease(
    faulted: Faulted, faults: Faults, chance: random.Random, kind: str, times: int
) -> None:
    for _ in range(times):
        job_id = faulted.submit()
        pid = awaited(lambda: faulted.at_work(kind, job_id))  # noqa: B023 (called before the next round)
        time.sleep(chance.random() * 0.2)
        with stopped(pid):
            faults.did(f"worker stopped past its lease at a {kind}")
            assert faulted.ended(job_id)["state"] == "succeeded"
            time.sleep(chance.random() * LEASE_S)
    settle(faulted, faults)


@pytest.mark.parametrize("seconds", [3.0, 8.0])
def test_a_queue_that_stands_still(faulted: Faulted, faults: Faults, chance: random.Random, seconds: float) -> None:
    faulted.submit()
    time.sleep(chance.random())
    with stopped(faulted.pids("queue")[0]):
        faults.did("queue stopped for seconds")
        time.sleep(seconds)
    settle(faulted, faults)


def test_gateways_that_hang(faulted: Faulted, faults: Faults, chance: random.Random) -> None:
    for _ in range(3):
        faulted.submit()
        time.sleep(chance.random())
        hung = awaited(lambda: faulted.pids("gateway"))[0]
        os.kill(hung, signal.SIGSTOP)
        faults.did("gateway hung")
        awaited(lambda: hung not in faulted.pids("gateway"))  # noqa: B023 (called before the next round)
    settle(faulted, faults)
