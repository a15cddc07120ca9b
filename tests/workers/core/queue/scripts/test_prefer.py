"""Models kept warm: what a worker takes instead of what is next, and how often that may happen to a region."""

import random
from collections import Counter
from datetime import UTC, datetime

import pytest
from queue_fixtures import REQUEST, begun, entries
from rq.job import Job

from workers.core.model.schemas import ModelCard
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import Task
from workers.core.queue.leases import Leases
from workers.core.queue.scripts.prefer import PASSES, WINDOW, Preference
from workers.core.queue.task_job import TaskJob
from workers.core.queue.worker import QueueWorker
from workers.core.store import new_id
from workers.core.telemetry.status import WorkerStatus

QUEUE = "made-queue"


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


def test_a_worker_takes_regions_of_its_model_first(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole loop: entries as they are handed out, and as RQ reads them."""
    planner = Leases(jobs, new_id())
    for name in "ab":
        job_id = new_id()
        jobs.store.save_request(job_id, REQUEST, datetime.now(UTC))
        jobs.submit(job_id, REQUEST)
        planner.planned(begun(planner, Task(job_id, "plan")), range(3), 3, 0.5, card(name))
    jobs.redis.delete(jobs.control.key)
    status, done = WorkerStatus("cpu"), []
    status.holds("b", "cpu")
    monkeypatch.setattr(TaskJob, "perform", lambda job: done.append(job.model))
    QueueWorker(jobs, new_id(), status=status).run(burst=True)
    assert "".join(done) == "bbbaaa"
    assert entries(jobs) == []
