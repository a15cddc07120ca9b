"""How a job ends that has no result: on disk first, in Redis after that. Whatever dies between, they are reconciled.

The first `ended.json` in a job's folder says how the job ended, whoever comes later; a job that has succeeded in Redis
before has none. What the disk cannot take (it is full, read-only, broken) ends in Redis all the same, is remembered
there, and is written by a later sweep: else a job that was canceled would run again once Redis is lost.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rq import Queue

from workers.core.errors.base import QueueUnavailable
from workers.core.job_files import Ending, clear_results, has_result, keep_ending, read_ending, take_back_ending
from workers.core.queue.events import add_event
from workers.core.queue.exchange import Transaction, answering, decode, transact
from workers.core.queue.keys import ACTIVE, TALLIES, UNWRITTEN, WEBHOOKS, JobKeys
from workers.core.queue.progress import progress_of
from workers.core.queue.scripts.dequeue import dequeue
from workers.core.schemas import FINAL_STATES, ErrorBody, JobRequest
from workers.core.store import Store
from workers.core.stored.jobs import scratch_jobs
from workers.core.stored.results import fetch_records
from workers.core.stored.slides import forget_copies
from workers.core.telemetry.tallies import JOBS_ENDED, field_of

logger = logging.getLogger(__name__)


class Ends:
    """The ends of the jobs of one queue and one data folder.

    Args:
        redis: The client.
        store: The data folder.
        queues: Returns all queues.
    """

    def __init__(self, redis: Any, store: Store, queues: Callable[[], Sequence[Queue]]) -> None:
        self._redis = redis
        self._store = store
        self._queues = queues

    def end(self, job_id: str, ending: Ending) -> None:
        """End a job for good and remove what it made; one that ended already stays as it is.

        Raises:
            QueueUnavailable: Redis does not answer. The disk may have the end: then a sweep gives it to Redis.
        """
        before = self._state(job_id)
        if before in FINAL_STATES or (before is None and has_result(self._store, job_id)):  # the queue may be a new one
            return
        if before == "finishing" and ending.state == "failed":  # what was computed is worth more than its outputs
            ending = ending.model_copy(update={"keeps_regions": True})
        kept = self._keep(job_id, ending)
        if not self._close(job_id, kept or ending, is_written=kept is not None):
            state = self._state(job_id)
            if state == "succeeded":  # its last task was quicker
                take_back_ending(self._store, job_id)
            elif state is None:  # Redis was lost meanwhile: the disk knows
                self.clear(job_id)
            return
        keeps = ending.keeps_regions and not self._store.owns_job(job_id)  # else the ending says so
        # A cancel is a gateway's doing, which goes on; a worker that fails a job may end now.
        self.clear(job_id, later=ending.state == "canceled", keeps_regions=keeps)
        if kept is None and self._keep(job_id, ending) is not None:  # there may be room now
            with answering():
                self._redis.srem(UNWRITTEN, job_id)
        with answering():
            dequeue(self._redis, self._queues(), job_id)

    def clear(self, job_id: str, *, later: bool = False, keeps_regions: bool = False) -> None:
        """Remove what a job made that ended without a result, as far as the disk lets us; `later`: in a thread.

        In the storage, where a finish may have been quicker than the end, workers remove it: not with `later`.
        """
        try:
            clear_results(self._store, job_id, later=later, keeps_regions=keeps_regions)
            if not later and (results := self._store.results(job_id)) is not None:
                results.remove()
        except OSError as error:
            logger.warning("what job %s made cannot be removed: %s", job_id, error)

    def settle(self, job_id: str) -> bool:
        """Make disk and Redis agree on the end of a job; say whether one of them had to learn of it.

        A host that only works on the job has nothing to say: the truth lies elsewhere.

        Raises:
            QueueUnavailable: Redis does not answer.
        """
        if not self._store.owns_job(job_id):
            return False
        with answering():
            record = decode(self._redis.hgetall(JobKeys(job_id).record))
        ending = read_ending(self._store, job_id)
        state = record.get("state")
        if state in ("failed", "canceled") and ending is None:
            return self._write_late(job_id, record)
        if ending is None or state is None:
            return False
        if state == "succeeded":
            take_back_ending(self._store, job_id)
            return True
        if state not in FINAL_STATES:
            logger.warning("job %s had ended on disk and not in the queue: it is ended there", job_id)
            self.end(job_id, ending)
            return True
        return False

    def heed(self, job_id: str) -> None:
        """Have Redis learn of an end that the disk has; of a job that has none there Redis is asked nothing.

        Raises:
            QueueUnavailable: Redis does not answer.
        """
        if read_ending(self._store, job_id) is not None:
            self.settle(job_id)

    def learn(self, job_id: str) -> bool:
        """Bring to the folder of a job what another host made of it: how it ended, and the records of its result.

        What the storage or the queue cannot tell now is asked for again another time. Returns whether there was news.
        """
        if self._store.storage is None or has_result(self._store, job_id):
            return False
        try:
            if self._state(job_id) != "succeeded":
                return read_ending(self._store, job_id) is None and self.settle(job_id)
            fetch_records(self._store, job_id)
            return has_result(self._store, job_id)
        except (OSError, QueueUnavailable) as error:
            logger.warning("what became of job %s cannot be learnt now: %s", job_id, error)
            return False

    def tend_scratch(self) -> None:
        """Remove what this host has of slides and jobs that were deleted, and of jobs that ended without a result.

        Raises:
            QueueUnavailable: Redis does not answer.
            OSError: The storage does not answer.
        """
        forget_copies(self._store)
        for job_id in scratch_jobs(self._store):
            with answering():
                state, keeps = self._redis.hmget(JobKeys(job_id).record, "state", "keeps_regions")
            if state in (b"failed", b"canceled"):
                clear_results(self._store, job_id, keeps_regions=keeps is not None)

    def write_late(self) -> None:
        """Write the ends that the disk could not take before."""
        with answering():
            late = sorted(member.decode() for member in self._redis.smembers(UNWRITTEN))
        for job_id in filter(self._store.owns_job, late):
            self.settle(job_id)
            if read_ending(self._store, job_id) is not None or not self._store.job_dir(job_id).is_dir():
                with answering():
                    self._redis.srem(UNWRITTEN, job_id)

    def _write_late(self, job_id: str, record: Mapping[str, str]) -> bool:
        error = ErrorBody.model_validate_json(record["error"]) if "error" in record else None
        ending = Ending.model_validate(
            {"state": record["state"], "error": error, "finished_at": datetime.fromisoformat(record["finished_at"])}
        )
        if self._keep(job_id, ending) is None:
            return False
        self.clear(job_id)
        return True

    def _state(self, job_id: str) -> str | None:
        with answering():
            state = self._redis.hget(JobKeys(job_id).record, "state")
        return None if state is None else str(state.decode())

    def _keep(self, job_id: str, ending: Ending) -> Ending | None:
        """Write how a job ended; return what the disk says of it now, None if the disk could not take it."""
        try:
            return keep_ending(self._store, job_id, ending)
        except OSError as error:
            logger.warning("the end of job %s cannot be written, and is tried again: %s", job_id, error)
            return None

    def _close(self, job_id: str, ending: Ending, *, is_written: bool) -> bool:
        """End a job in Redis; say whether it was this that did."""
        keys = JobKeys(job_id)

        def write(pipe: Transaction) -> bool:
            record = decode(pipe.hgetall(keys.record))
            if not record or record["state"] in FINAL_STATES:
                return False
            left = pipe.scard(keys.todo)
            fields = {
                "state": ending.state,
                "finished_at": ending.finished_at.isoformat(),
                "regions_done": str(max(0, int(record.get("regions_total", 0)) - left)),
            }
            if ending.keeps_regions:
                fields["keeps_regions"] = "1"
            if ending.error is not None:
                fields["error"] = ending.error.model_dump_json()
            pipe.multi()
            close_record(pipe, job_id, record, fields)
            if not is_written:
                pipe.sadd(UNWRITTEN, job_id)
            return True

        return transact(self._redis, write, keys.record, keys.todo)


def close_record(pipe: Transaction, job_id: str, record: Mapping[str, str], fields: Mapping[str, str]) -> None:
    """Write the end of a job as part of a transaction: its record, the event, the webhook that is due.

    Args:
        pipe: The transaction.
        job_id: The job.
        record: As it was.
        fields: What changes in it; the state is a final one.
    """
    keys = JobKeys(job_id)
    pipe.hset(keys.record, mapping=fields)
    pipe.unlink(*keys.working)
    pipe.srem(ACTIVE, job_id)
    code = "" if "error" not in fields else ErrorBody.model_validate_json(fields["error"]).code
    pipe.hincrbyfloat(TALLIES, field_of(JOBS_ENDED, (fields["state"], code)), 1)
    add_event(pipe, job_id, "end", progress_of({**record, **fields}, 0))
    if JobRequest.model_validate_json(record["request"]).webhook is not None:
        pipe.zadd(WEBHOOKS, {job_id: 0})
