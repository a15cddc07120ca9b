"""Webhooks over real TLS on loopback: what arrives, what is tried again, what is not called at all."""

import hashlib
import hmac
import http.server
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from https_files import https_server
from queue_fixtures import REQUEST, finishing, stored, until

from server.jobs import webhook_dispatch as module
from server.jobs.webhook_dispatch import PAUSES_S, WebhookDispatch
from workers.core.errors.base import DiskFull
from workers.core.job_files import view_from_disk, write_delivery
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import WEBHOOKS
from workers.core.schemas import JobView, Webhook, WebhookDelivery
from workers.core.settings import Settings


class Receiver(http.server.BaseHTTPRequestHandler):
    """Keeps what it is sent and answers with the statuses it was given, the last one for ever."""

    statuses: list[int]
    got: list[tuple[str, dict[str, str], bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.got.append((self.path, dict(self.headers), body))
        self.send_response(self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0])
        self.send_header("Location", "https://127.0.0.1:1/elsewhere")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def receiver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, type[Receiver]]]:
    """A server on loopback with a certificate that this process trusts: its port, and what it got."""
    kind = type("OneReceiver", (Receiver,), {"statuses": [204], "got": []})
    with https_server(tmp_path, monkeypatch, kind) as port:
        yield port, kind


@pytest.fixture
def queue_settings(queue_settings: Settings, receiver: tuple[int, type[Receiver]], tmp_path: Path) -> Settings:
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "lab").write_bytes(b"s3cret")
    allowed = {"webhook_hosts": f"localhost:{receiver[0]}, 127.0.0.1:{receiver[0]}", "webhook_secrets_dir": tmp_path}
    return queue_settings.model_copy(update={**allowed, "webhook_private": True})


def ended(jobs: Jobs, port: int, host: str = "localhost") -> str:
    """A job with a webhook, canceled."""
    webhook = Webhook(url=f"https://{host}:{port}/hook?a=b", secret="lab")
    request = REQUEST.model_copy(update={"webhook": webhook})
    job_id = stored(jobs, request=request)
    jobs.submit(job_id, request)
    assert jobs.redis.zscore(WEBHOOKS, job_id) is None
    jobs.cancel(job_id)
    return job_id


def shown(jobs: Jobs, job_id: str) -> tuple[str, int, int | None]:
    """The delivery that a client sees, the same when Redis has lost the job after its end was told or given up."""
    seen = jobs.view(job_id).webhook
    assert seen is not None
    if seen.state != "pending":
        assert view_from_disk(jobs.store, job_id).webhook == seen
    return seen.state, seen.attempts, seen.last_status


def presented(view: JobView) -> JobView:
    return view.model_copy(update={"results": {"result": "somewhere"}})


def test_the_end_of_a_job_arrives_signed_and_once(jobs: Jobs, receiver: tuple[int, type[Receiver]]) -> None:
    job_id = ended(jobs, receiver[0])
    dispatch = WebhookDispatch(jobs, presented)
    assert shown(jobs, job_id) == ("pending", 0, None)
    assert dispatch.deliver_next()
    assert not dispatch.deliver_next()
    assert shown(jobs, job_id) == ("delivered", 1, 204)
    ((path, headers, body),) = receiver[1].got
    assert path == "/hook?a=b"
    told = json.loads(body)
    assert (told["event"], told["job"]["id"], told["job"]["state"]) == ("job.canceled", job_id, "canceled")
    assert told["job"]["results"] == {"result": "somewhere"}
    parts = dict(part.split("=") for part in headers["LDiffusion-Signature"].split(","))
    expected = hmac.new(b"s3cret", parts["t"].encode() + b"." + body, hashlib.sha256).hexdigest()
    assert parts["v1"] == expected
    assert jobs.redis.keys(f"{WEBHOOKS}*") == []


@pytest.mark.parametrize("status", [500, 302, 404])
def test_what_does_not_arrive_is_tried_again_and_no_redirect_is_followed(
    jobs: Jobs, receiver: tuple[int, type[Receiver]], status: int
) -> None:
    receiver[1].statuses[:] = [status, 200]
    job_id = ended(jobs, receiver[0])
    dispatch = WebhookDispatch(jobs, presented)
    assert dispatch.deliver_next()
    assert not dispatch.deliver_next()  # not at once
    assert jobs.redis.zscore(WEBHOOKS, job_id) > time.time()
    assert shown(jobs, job_id) == ("pending", 1, status)
    jobs.redis.zadd(WEBHOOKS, {job_id: 0}, xx=True)
    assert dispatch.deliver_next()
    assert [path for path, _, _ in receiver[1].got] == ["/hook?a=b"] * 2
    assert shown(jobs, job_id) == ("delivered", 2, 200)
    assert jobs.redis.keys(f"{WEBHOOKS}*") == []


def test_a_receiver_that_never_answers_well_is_given_up(jobs: Jobs, receiver: tuple[int, type[Receiver]]) -> None:
    receiver[1].statuses[:] = [503]
    job_id = ended(jobs, receiver[0])
    dispatch = WebhookDispatch(jobs, presented)
    for _ in range(len(PAUSES_S) + 1):
        jobs.redis.zadd(WEBHOOKS, {job_id: 0}, xx=True)
        assert dispatch.deliver_next()
    assert len(receiver[1].got) == len(PAUSES_S) + 1
    assert shown(jobs, job_id) == ("failed", len(PAUSES_S) + 1, 503)
    assert jobs.redis.exists(WEBHOOKS) == 0


def test_a_certificate_of_another_name_is_not_trusted(jobs: Jobs, receiver: tuple[int, type[Receiver]]) -> None:
    job_id = ended(jobs, receiver[0], host="127.0.0.1")
    assert WebhookDispatch(jobs, presented).deliver_next()
    assert receiver[1].got == []
    assert shown(jobs, job_id) == ("pending", 1, None)


def test_an_address_inside_is_not_called_although_its_host_is_allowed(
    jobs: Jobs, receiver: tuple[int, type[Receiver]]
) -> None:
    job_id = ended(jobs, receiver[0])
    jobs.settings = jobs.settings.model_copy(update={"webhook_private": False})
    assert WebhookDispatch(jobs, presented).deliver_next()
    assert receiver[1].got == []
    assert shown(jobs, job_id) == ("failed", 0, None)
    assert jobs.redis.keys(f"{WEBHOOKS}*") == []


def test_threads_take_up_what_is_due_and_a_deleted_job_is_not_told(
    jobs: Jobs, receiver: tuple[int, type[Receiver]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IDLE_S", 0.02)
    gone = ended(jobs, receiver[0])
    jobs.forget(gone)
    jobs.store.delete_job(gone)
    jobs.redis.zadd(WEBHOOKS, {gone: 0})
    job_id = ended(jobs, receiver[0])
    finishing(jobs)
    dispatch = WebhookDispatch(jobs, presented)
    dispatch.start()
    try:
        until(lambda: jobs.redis.exists(WEBHOOKS) == 0)
    finally:
        dispatch.stop()
    assert [json.loads(body)["job"]["id"] for _, _, body in receiver[1].got] == [job_id]
    assert not jobs.store.job_dir(gone).exists()


def test_a_fault_ends_no_thread(
    jobs: Jobs, receiver: tuple[int, type[Receiver]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "IDLE_S", 0.02)
    monkeypatch.setattr(module, "DISPATCHERS", 1)
    sound, faults = write_delivery, [DiskFull("Full."), UnicodeError("label too long")]

    def failing(*arguments: Any) -> None:
        if faults:
            raise faults.pop()
        sound(*arguments)

    monkeypatch.setattr(module, "write_delivery", failing)
    for _ in range(3):
        ended(jobs, receiver[0])
    dispatch = WebhookDispatch(jobs, presented)
    dispatch.start()
    try:
        until(lambda: jobs.redis.zcount(WEBHOOKS, "-inf", "+inf") == 2 and not faults)
    finally:
        dispatch.stop()
    assert len(receiver[1].got) == 3
    assert caplog.text.count("could not be dealt with") == 2


def test_a_job_without_a_webhook_shows_none_and_a_lost_one_is_told_as_failed(jobs: Jobs) -> None:
    assert jobs.view(finishing(jobs)).webhook is None
    job_id = ended(jobs, 1)
    jobs.redis.flushall()
    assert jobs.view(job_id).webhook == WebhookDelivery(state="failed")


def test_a_secret_signs_for_its_own_tenant_only(
    jobs: Jobs, receiver: tuple[int, type[Receiver]], tmp_path: Path
) -> None:
    job_id = ended(jobs, receiver[0])
    (tmp_path / "local").rename(tmp_path / "lab-b")
    assert WebhookDispatch(jobs, presented).deliver_next()
    assert receiver[1].got == []
    assert shown(jobs, job_id) == ("failed", 0, None)
