"""Regions that ruin their worker, workers that stand still past their lease, a gateway and a queue that hang."""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from fault_fixtures import Faulted, Serve, settle
from fault_processes import LEASE_S, awaited
from fault_report import Extent, Faults

pytestmark = [pytest.mark.process, pytest.mark.faults, pytest.mark.timeout(900)]

POISON_CODES = {1: "job_lost", 2: "job_lost", 3: "internal_error", 4: "job_lost", 5: "out_of_memory"}
"""Seed of a poisoned job (see `fault_worker.py`) → the code that it fails with."""
NAMES = {1: "ends its worker", 2: "kills its worker", 3: "raises", 4: "hangs in C", 5: "eats memory"}


@pytest.fixture(scope="module")
def poisoned(serve_faulted: Serve) -> Faulted:
    """A server that tries a task twice, for 10 s."""
    return serve_faulted(task_retries=1, job_timeout_s=10.0, worker_memory=2**30)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Have a process stand still."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_poison(poisoned: Faulted, faults: Faults) -> None:
    for seed, code in POISON_CODES.items():  # all at once: while one hangs, others take what they need
        poisoned.failing[poisoned.submit(seed=seed)] = code
        faults.did(f"region that {NAMES[seed]}")
    poisoned.submit()
    settle(poisoned, faults)


@pytest.mark.parametrize("kind", ["region", "finish"])
def test_workers_that_stand_still_past_their_lease(
    faulted: Faulted, faults: Faults, chance: random.Random, extent: Extent, kind: str
) -> None:
    for _ in extent.times(3):
        job_id = faulted.submit()
        pid = awaited(lambda: faulted.at_work(kind, job_id))  # noqa: B023 (called before the next round)
        time.sleep(chance.random() * 0.1)
        with stopped(pid):
            faults.did(f"worker stopped past its lease at a {kind}")
            time.sleep(LEASE_S)
            assert faulted.ended(job_id)["state"] == "succeeded"
            time.sleep(chance.random() * 2)
    settle(faulted, faults)


def test_a_queue_that_stands_still(faulted: Faulted, faults: Faults, chance: random.Random, extent: Extent) -> None:
    for seconds in extent.some((3.0, 8.0)):
        faulted.submit()
        time.sleep(chance.random())
        with stopped(faulted.pids("queue")[0]):
            faults.did("queue stopped for seconds")
            time.sleep(seconds)
    settle(faulted, faults)


def test_gateways_that_hang(faulted: Faulted, faults: Faults, chance: random.Random, extent: Extent) -> None:
    for _ in extent.times(2):
        faulted.submit()
        time.sleep(1.5 + chance.random())  # it is known to answer
        hung = awaited(lambda: faulted.pids("gateway"))[0]
        os.kill(hung, signal.SIGSTOP)
        faults.did("gateway hung")
        awaited(lambda: hung not in faulted.pids("gateway"))  # noqa: B023 (called before the next round)
    settle(faulted, faults)
