"""Calls the webhooks of jobs that have ended: at least once, again after growing pauses, then no more.

It runs in the gateway, for workers have no way out of their network. What is due stands in Redis with the end of its
job, so a gateway that dies forgets none, and of several gateways one makes the call.
"""

import http.client
import json
import logging
import threading
import time
from collections.abc import Callable

from server.jobs.webhooks import SIGNATURE, TOTAL_S, post, read_secret, signature
from workers.core.errors.base import JobNotFound, QueueUnavailable
from workers.core.errors.jobs import WebhookRefused
from workers.core.job_files import write_delivery
from workers.core.queue.exchange import Transaction, answering
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import WEBHOOKS, JobKeys
from workers.core.queue.progress import DELIVERY
from workers.core.schemas import FINAL_STATES, JobView, Webhook, WebhookDelivery
from workers.core.telemetry.logs import Private

PAUSES_S = (10, 60, 300, 1800, 7200)
"""Pauses between two tries; after the last one the webhook is given up."""

CLAIM_S = 3 * TOTAL_S
"""How long a webhook that was taken up waits before another thread or gateway may take it up."""

IDLE_S = 1.0
STOP_S = 2.0
DISPATCHERS = 4
"""Calls at once: one slow receiver does not hold up the others."""

logger = logging.getLogger(__name__)


class WebhookDispatch:
    """Makes the calls that are due, in threads of its own.

    Args:
        jobs: The queue.
        present: Adds to a job what its client needs besides, such as the addresses of its results.
    """

    def __init__(self, jobs: Jobs, present: Callable[[JobView], JobView]) -> None:
        self._jobs = jobs
        self._present = present
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, name=f"webhook-dispatch-{n}", daemon=True) for n in range(DISPATCHERS)
        ]

    def start(self) -> None:
        """Begin, if the operator allows webhooks at all."""
        if self._jobs.settings.webhook_hosts:
            for thread in self._threads:
                thread.start()

    def stop(self) -> None:
        """Take up no more, and wait a moment for the threads. A call that takes longer is made again."""
        self._ended.set()
        end = time.monotonic() + STOP_S
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, end - time.monotonic()))

    def deliver_next(self) -> bool:
        """Take up one call that is due, and make it; say whether there was one.

        Raises:
            QueueUnavailable: Redis does not answer.
        """
        job_id = self._jobs.transact(self._claim, WEBHOOKS)
        if job_id is None:
            return False
        try:
            view = self._jobs.view(job_id)
        except JobNotFound:  # deleted meanwhile
            self._forget(job_id)
            return True
        webhook = view.request.webhook
        if webhook is None or view.state not in FINAL_STATES:
            self._forget(job_id)
        else:
            self._note(job_id, self._call(view, webhook))
        return True

    def _claim(self, pipe: Transaction) -> str | None:
        now = time.time()
        due = pipe.zrangebyscore(WEBHOOKS, "-inf", now, 0, 1)
        if not due:
            return None
        pipe.multi()
        pipe.zadd(WEBHOOKS, {due[0]: now + CLAIM_S})
        return str(due[0].decode())

    def _call(self, view: JobView, webhook: Webhook) -> WebhookDelivery:
        """Call once, and return how far the news has come."""
        settings, before = self._jobs.settings, view.webhook or WebhookDelivery()
        body = json.dumps(
            {"event": f"job.{view.state}", "job": self._present(_without_labels(view)).model_dump(mode="json")}
        ).encode()
        status = None
        try:
            headers = {
                "Content-Type": "application/json",
                "User-Agent": "ldiffusion-server",
                SIGNATURE: signature(read_secret(webhook.secret, view.tenant, settings), int(time.time()), body),
            }
            status = post(webhook.url, body, headers, settings)
        except WebhookRefused as error:
            logger.warning("webhook of job %s is not called: %s (%s)", view.id, error.message, Private(error.value))
            return before.model_copy(update={"state": "failed"})
        except (OSError, http.client.HTTPException) as error:
            logger.warning("webhook of job %s: %s", view.id, type(error).__name__)
        called = WebhookDelivery(attempts=before.attempts + 1, last_status=status)
        if status is not None and http.client.OK <= status < http.client.MULTIPLE_CHOICES:
            return called.model_copy(update={"state": "delivered"})
        if status is not None:
            logger.warning("webhook of job %s was answered with %d", view.id, status)
        if called.attempts > len(PAUSES_S):
            logger.warning("webhook of job %s is given up after %d tries", view.id, called.attempts)
            return called.model_copy(update={"state": "failed"})
        return called

    def _note(self, job_id: str, delivery: WebhookDelivery) -> None:
        """Show how far the news has come, and put off the next call or forget it; a deleted job stays deleted."""
        record = JobKeys(job_id).record
        next_at = time.time() + PAUSES_S[delivery.attempts - 1] if delivery.state == "pending" else None

        def write(pipe: Transaction) -> None:
            is_there = pipe.exists(record)
            pipe.multi()
            if is_there:
                pipe.hset(record, DELIVERY, delivery.model_dump_json())
            if next_at is None:
                pipe.zrem(WEBHOOKS, job_id)
            else:  # xx: the job may have been deleted meanwhile
                pipe.zadd(WEBHOOKS, {job_id: next_at}, xx=True)

        if next_at is None:  # first: what Redis shows no longer as due must be known from the disk
            write_delivery(self._jobs.store, job_id, delivery)
        self._jobs.transact(write, record)

    def _forget(self, job_id: str) -> None:
        with answering():
            self._jobs.redis.zrem(WEBHOOKS, job_id)

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                found = self.deliver_next()
            except QueueUnavailable:
                found = False
            except Exception:  # a thread that ends is missing until the restart; what it did is due again after CLAIM_S
                logger.exception("a webhook could not be dealt with, and is taken up again")
                found = False
            if not found:
                self._ended.wait(IDLE_S)


def _without_labels(view: JobView) -> JobView:
    """Return a job as others may see it: labels may name patients."""
    return view.model_copy(update={"labels": {}})
