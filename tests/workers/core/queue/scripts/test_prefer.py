"""Models kept warm: what a worker takes instead of what is next, and how often that may happen to a region."""

import random
from collections import Counter
from datetime import UTC, datetime

import pytest
from queue_fixtures import REQUEST, begun, entries, worker
from rq.job import Job
from rq.serializers import JSONSerializer

from workers.core.model.schemas import ModelCard
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import Task
from workers.core.queue.leases import Leases
from workers.core.queue.scripts.prefer import PASSES, WINDOW, Preference
from workers.core.queue.task_job import TaskJob
from workers.core.queue.turns import TURN_REGIONS
from workers.core.queue.worker import QueueWorker
from workers.core.store import new_id
from workers.core.telemetry.status import WorkerStatus

QUEUE = "made-queue"


@pytest.fixture
def queued_least() -> None:
    """As it is."""


@pytest.fixture
def lease_s() -> float:
    return 60.0


class Line:
    """A queue of entries that have only a model, and what came before whom."""

    def __init__(self, jobs: Jobs) -> None:
        self._redis = jobs.redis
        self._prefer = Preference(jobs.redis)
        self.waiting: list[str] = []
        self.overtaken: Counter[str] = Counter()

    def push(self, model: str) -> str:
        entry = f"{len(self.waiting) + sum(self.overtaken.values())}-{new_id()}"
        self._redis.hset(Job.key_for(entry), "model", model)
        self._redis.rpush(QUEUE, entry)
        self.waiting.append(entry)
        return entry

    def take(self, held: str | None) -> tuple[str, str]:
        """Return what a worker takes that holds a model, and the model of it."""
        entry = self._redis.lpop(QUEUE).decode()
        told = self._redis.hgetall(Job.key_for(entry))
        passed = int(told.get(b"passed", 0))
        chosen = self._prefer.instead(QUEUE, entry, told[b"model"].decode(), passed, held) or entry
        for before in self.waiting[: self.waiting.index(chosen)]:
            self.overtaken[before] += 1
        self.waiting.remove(chosen)
        return chosen, self._redis.hget(Job.key_for(chosen), "model").decode()


def test_who_is_next_is_passed_over_so_often_and_no_more(jobs: Jobs) -> None:
    line = Line(jobs)
    late = [line.push("b") for _ in range(WINDOW)]
    taken = []
    while late[-1] in line.waiting:
        line.push("a")
        taken.append(line.take("a"))
        assert len(taken) <= WINDOW * (PASSES + 1)
    assert line.overtaken[late[0]] == PASSES
    assert line.overtaken[late[-1]] == WINDOW * PASSES  # the bound is reached, and no more than that
    assert [entry for entry, model in taken if model == "b"] == late


@pytest.mark.parametrize("seed", range(3))
def test_nobody_is_overtaken_more_often_and_nothing_is_lost(jobs: Jobs, seed: int) -> None:
    chance, line = random.Random(seed), Line(jobs)
    pushed, taken = [], []
    for _ in range(300):
        if chance.random() < 0.5 or not line.waiting:
            pushed += [line.push(chance.choice("aaaab")) for _ in range(chance.randint(1, 4))]
        else:
            taken.append(line.take(chance.choice(["a", "a", "b", "c", None]))[0])
    while line.waiting:
        taken.append(line.take("a")[0])
    assert sorted(taken) == sorted(pushed)
    assert max(line.overtaken.values()) <= WINDOW * PASSES


def test_workers_keep_to_their_models(jobs: Jobs) -> None:
    """Turns of two tenants with different models, four regions each, four workers: how often a model is loaded."""

    def loads(*, prefers: bool) -> int:
        line, turn, count = Line(jobs), 0, 0
        held: list[str | None] = [None] * 4
        for number in range(160):
            if len(line.waiting) < len(held):
                for _ in range(4):
                    line.push("ab"[turn % 2])
                turn += 1
            me = number % len(held)
            _, model = line.take(held[me] if prefers else None)
            count += model != held[me]
            held[me] = model
        jobs.redis.delete(QUEUE)
        return count

    assert loads(prefers=True) <= loads(prefers=False) / 2


def test_what_is_held_or_known_to_nobody_is_run_as_it_comes(jobs: Jobs) -> None:
    prefer = Preference(jobs.redis)
    jobs.redis.config_resetstat()
    for of, passed, held in (("", 0, "a"), ("a", 0, "a"), ("a", 0, None), ("a", PASSES, "b")):
        assert prefer.instead(QUEUE, "entry", of, passed, held) is None
    assert "cmdstat_evalsha" not in jobs.redis.info("commandstats"), "where one model runs, nothing is asked"


def card(name: str) -> ModelCard:
    return ModelCard(
        name=name, title="", mpp=0.5, classes=(), tile_px=1024, halo_px=0, stride_px=8, digest="", license="",
        intended_use="",
    )  # fmt: skip


def planned(jobs: Jobs, name: str, count: int, tenant: str = "local") -> None:
    """A job of a model, planned by somebody who is gone."""
    planner, job_id = Leases(jobs, new_id()), new_id()
    jobs.store.save_request(job_id, REQUEST, datetime.now(UTC), tenant)
    jobs.submit(job_id, REQUEST, tenant=tenant)
    planner.planned(begun(planner, Task(job_id, "plan")), range(count), count, 0.5, card(name))
    jobs.redis.delete(jobs.control.key)


def fetched(jobs: Jobs, entry: str) -> TaskJob:
    found = TaskJob.fetch(entry, jobs.redis, JSONSerializer)
    assert isinstance(found, TaskJob)
    return found


class Hand:
    """A worker that takes regions as the loop of one does, and counts what models it loads."""

    def __init__(self, jobs: Jobs) -> None:
        self._leases = worker(jobs)
        self._prefer = Preference(jobs.redis)
        self.held: str | None = None
        self.loads = 0
        self.done: Counter[str] = Counter()

    def step(self) -> bool:
        """Do a region; say whether there was one."""
        jobs = self._leases.jobs
        if (entry := jobs.redis.lpop(jobs.regions.key)) is None:
            return False
        job = fetched(jobs, entry.decode())
        chosen = self._prefer.instead(jobs.regions.key, job.id, job.model, job.passed, self.held)
        job = job if chosen is None else fetched(jobs, chosen)
        self.loads += job.model != self.held
        self.held = job.model
        self.done[job.model] += 1
        self._leases.region_done(begun(self._leases, Task(job.args[0], "region", job.args[1])), 0.1)
        return True


@pytest.mark.parametrize(("workers", "most"), [(1, 20), (2, 32)])
def test_few_workers_find_regions_of_their_model_too(jobs: Jobs, workers: int, most: int) -> None:
    """Two tenants with 80 regions of one model each, in turns of four: without this, 40 and 80 loads."""
    hands = [Hand(jobs) for _ in range(workers)]
    for tenant, name in (("a", "a"), ("b", "b")):
        planned(jobs, name, 80, tenant)
    longest = workers + 2 * TURN_REGIONS
    while any([hand.step() for hand in hands]):  # noqa: C419 (each takes one)
        done = sum((hand.done for hand in hands), Counter())
        assert jobs.regions.count < longest
        assert abs(done["a"] - done["b"]) <= TURN_REGIONS + longest, "turns are equal, and what is queued is bounded"
    assert done == {"a": 80, "b": 80}
    assert sum(hand.loads for hand in hands) <= most


def test_where_one_model_runs_no_more_is_queued_than_workers_need(jobs: Jobs) -> None:
    hand = Hand(jobs)
    for tenant in "ab":
        planned(jobs, "a", 20, tenant)
    for _ in range(30):
        assert hand.step()
        assert jobs.regions.count <= TURN_REGIONS


def test_a_worker_takes_regions_of_its_model_first(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole loop: entries as they are handed out, and as RQ reads them."""
    for _ in range(6):
        worker(jobs)  # so that all is queued
    for name in "ab":
        planned(jobs, name, 3)
    status, done = WorkerStatus("cpu"), []
    status.holds("b", "cpu")
    monkeypatch.setattr(TaskJob, "perform", lambda job: done.append(job.model))
    QueueWorker(jobs, new_id(), status=status).run(burst=True)
    assert "".join(done) == "bbbaaa"
    assert entries(jobs) == []
