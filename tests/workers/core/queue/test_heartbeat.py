"""Signs of life: who is counted as a worker, and what asking costs."""

import time

from job_requests import add_slide
from queue_fixtures import REQUEST, worker

from server.jobs.submission import Requester, submit_job
from workers.core.queue.heartbeat import FORGOTTEN_S
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import WORKERS, JobKeys, worker_key
from workers.core.schemas import JobSubmission


def test_the_cost_of_a_request_does_not_grow_with_the_jobs_that_are_kept(jobs: Jobs) -> None:
    request = JobSubmission(**dict(REQUEST) | {"slide_id": add_slide(jobs.store, 0.5)})
    worker(jobs)

    def commands() -> dict[str, int]:
        jobs.redis.config_resetstat()
        assert submit_job(jobs, request, Requester()).preflight is not None
        told = {name: stat["calls"] for name, stat in jobs.redis.info("commandstats").items()}
        return {name: calls for name, calls in told.items() if "config" not in name and "info" not in name}

    commands()  # the first says hello to the queue
    few = commands()
    with jobs.redis.pipeline() as pipe:
        for number in range(5000):
            pipe.hset(JobKeys(f"{number:032x}").record, "state", "succeeded")
        pipe.execute()
    assert commands() == few
    assert not any("scan" in name or "keys" in name for name in few)


def test_a_worker_counts_as_long_as_it_shows_signs_of_life(jobs: Jobs) -> None:
    assert (jobs.workers(), jobs.memory_bytes()) == (0, None)
    steady, silent, leaving = (worker(jobs) for _ in range(3))
    jobs.redis.set(worker_key(silent.worker_id), 7)
    assert (jobs.workers(), jobs.memory_bytes()) == (3, 7)
    leaving.retire()
    jobs.redis.delete(worker_key(silent.worker_id))  # as it expires
    assert jobs.workers() == 1
    assert jobs.redis.zcard(WORKERS) == 2
    jobs.redis.zadd(WORKERS, {silent.worker_id: time.time() - FORGOTTEN_S - 60})
    steady.beat()
    assert jobs.redis.zrange(WORKERS, 0, -1) == [steady.worker_id.encode()]
