"""Server-Sent Events of a real gateway, read line by line as a browser would."""

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from gateway_fixtures import GatewayWith
from queue_fixtures import DEADLINE_S, begun, running, submitted, until, worker, write_result

from server.access.keys import Keys
from server.web import sse as module
from server.web.sse import Listeners
from workers.core.queue.events import events_key
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import JobKeys, Task
from workers.core.schemas import JobView
from workers.core.settings import Settings

Event = tuple[str, str, dict[str, Any]]


@pytest.fixture
def lease_s() -> float:
    return 30.0


@pytest.fixture
def url(jobs: Jobs, gateway_with: GatewayWith, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A gateway over the queue of `jobs`, whose heart beats fast."""
    monkeypatch.setattr(Listeners.__init__, "__defaults__", (0.2,))
    with gateway_with(jobs.settings.model_copy(update={"event_listeners_max": 2})) as address:
        yield address


def parse(lines: Iterator[str]) -> Iterator[Event]:
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if line:
            fields[name] = value
        elif "event" in fields:
            yield fields["id"], fields["event"], json.loads(fields["data"])
            fields = {}


def follow(url: str, job_id: str, last_id: str | None = None, seen: list[Event] | None = None) -> list[Event]:
    """All events until the server ends them; `seen` takes them up as they come."""
    headers = {} if last_id is None else {"Last-Event-ID": last_id}
    seen = [] if seen is None else seen
    address = f"{url}/v1/jobs/{job_id}/events"
    with httpx.stream("GET", address, headers=headers, timeout=DEADLINE_S, trust_env=False) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        for event in parse(answer.iter_lines()):
            seen.append(event)
    return seen


def test_a_job_is_followed_to_its_end_and_taken_up_again_where_it_stopped(jobs: Jobs, url: str) -> None:
    job_id = running(jobs, 3)
    me = worker(jobs)
    seen: list[Event] = []
    thread = threading.Thread(target=follow, args=(url, job_id, None, seen))
    thread.start()
    until(lambda: len(seen) > 0)
    for index in range(3):
        me.region_done(begun(me, Task(job_id, "region", index)), 0.1, 2)
    lease = begun(me, Task(job_id, "finish"))
    write_result(jobs, job_id)
    me.finished(lease)
    thread.join(DEADLINE_S)
    kinds = [kind for _, kind, _ in seen]
    assert (kinds[0], kinds[-1], kinds.count("end")) == ("state", "end", 1)
    assert seen[0][2]["regions_total"] == 3
    done = [data["regions_done"] for _, _, data in seen]
    assert done == sorted(done)
    last = seen[-1][2]
    assert (last["id"], last["state"], last["regions_done"]) == (job_id, "succeeded", 3)
    assert last["results"]["result"] == f"/v1/jobs/{job_id}/result"
    # from the middle: exactly what came after
    every = [entry.decode() for entry, _ in jobs.redis.xrange(events_key(job_id))]
    again = follow(url, job_id, every[2])
    assert [event_id for event_id, _, _ in again] == every[3:]
    # from the end: nothing more, and a browser stops asking
    answer = httpx.get(f"{url}/v1/jobs/{job_id}/events", headers={"Last-Event-ID": every[-1]}, trust_env=False)
    assert answer.status_code == 204


def test_an_id_that_fell_out_of_the_stream_gets_where_the_job_stands(jobs: Jobs, url: str) -> None:
    job_id = running(jobs, 2)
    first = jobs.redis.xrange(events_key(job_id))[0][0].decode()
    me = worker(jobs)
    me.region_done(begun(me, Task(job_id, "region", 1)), 0.1)
    jobs.redis.xtrim(events_key(job_id), maxlen=1, approximate=False)
    seen: list[Event] = []
    thread = threading.Thread(target=follow, args=(url, job_id, first, seen))
    thread.start()
    until(lambda: len(seen) > 0)
    jobs.cancel(job_id)
    thread.join(DEADLINE_S)
    assert [(kind, data["state"], data["regions_done"]) for _, kind, data in seen] == [
        ("state", "running", 1),  # and not the one entry that is left, which tells of progress
        ("end", "canceled", 1),
    ]


def after_each_view(monkeypatch: pytest.MonkeyPatch, then: Callable[[], object]) -> None:
    """Let something happen between the moment a job was looked at and whatever the gateway does next."""
    view = Listeners._view

    async def and_then(listeners: Listeners, job_id: str) -> JobView:
        seen = await view(listeners, job_id)
        then()
        return seen

    monkeypatch.setattr(Listeners, "_view", and_then)


def test_an_end_that_comes_while_a_client_is_let_in_is_not_lost(
    jobs: Jobs, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submitted(jobs)
    after_each_view(monkeypatch, lambda: jobs.cancel(job_id))
    ((_, kind, data),) = follow(url, job_id)
    assert (kind, data["state"]) == ("end", "canceled")


def test_of_a_job_that_never_holds_still_nothing_is_lost(jobs: Jobs, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = running(jobs, 9)
    me, left = worker(jobs), iter(range(9))

    def goes_on() -> None:
        if (index := next(left, None)) is not None:
            me.region_done(begun(me, Task(job_id, "region", index)), 0.1)
        else:
            jobs.cancel(job_id)

    after_each_view(monkeypatch, goes_on)
    told = follow(url, job_id)
    assert [kind for _, kind, _ in told].count("end") == 1
    assert {data["regions_done"] for _, _, data in told} == set(range(4, 10))


def test_a_job_that_only_the_disk_knows_has_an_end(jobs: Jobs, url: str) -> None:
    job_id = submitted(jobs)
    jobs.cancel(job_id)
    jobs.redis.flushall()
    ((event_id, kind, data),) = follow(url, job_id)
    assert (kind, data["state"]) == ("end", "canceled")
    answer = httpx.get(f"{url}/v1/jobs/{job_id}/events", headers={"Last-Event-ID": event_id}, trust_env=False)
    assert answer.status_code == 204


def test_a_quiet_job_has_a_heartbeat_and_a_deleted_one_an_end(jobs: Jobs, url: str) -> None:
    job_id = submitted(jobs)
    with httpx.stream("GET", f"{url}/v1/jobs/{job_id}/events", timeout=DEADLINE_S, trust_env=False) as answer:
        lines = answer.iter_lines()
        assert next(line for line in lines if line.startswith(":")) == ": beat"
        jobs.forget(job_id)
        jobs.store.delete_job(job_id)
        ((_, kind, data),) = parse(lines)
    assert (kind, data) == ("end", {"id": job_id, "state": "deleted"})


def test_the_gateway_answers_others_while_clients_listen_and_counts_them(jobs: Jobs, url: str) -> None:
    job_id = submitted(jobs)
    address = f"{url}/v1/jobs/{job_id}/events"
    with httpx.Client(timeout=DEADLINE_S, trust_env=False) as client:
        with client.stream("GET", address) as one, client.stream("GET", address) as two:
            held = [answer.iter_lines() for answer in (one, two)]  # let go of, they would hang up
            for lines in held:
                assert next(lines).startswith("retry")
            assert client.get(f"{url}/v1/jobs/{job_id}").json()["state"] == "queued"
            refused = client.get(address)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "too_many_listeners")
        until(lambda: client.send(client.build_request("GET", address), stream=True).status_code == 200)


def test_what_cannot_be_followed_is_told(jobs: Jobs, url: str) -> None:
    answer = httpx.get(f"{url}/v1/jobs/{'0' * 32}/events", trust_env=False)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "job_not_found")
    job_id = submitted(jobs)
    answer = httpx.get(f"{url}/v1/jobs/{job_id}/events", headers={"Last-Event-ID": "x"}, trust_env=False)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")
    assert jobs.redis.exists(JobKeys(job_id).record)
    assert module.HEARTBEAT_S >= 10


def test_a_queue_that_goes_away_ends_the_stream_and_not_the_gateway(
    jobs: Jobs, url: str, queue_settings: Settings
) -> None:
    job_id = submitted(jobs)
    with httpx.Client(timeout=DEADLINE_S, trust_env=False) as client:
        with client.stream("GET", f"{url}/v1/jobs/{job_id}/events") as answer:
            lines = answer.iter_lines()
            next(line for line in lines if line.startswith("event"))
            jobs.redis.delete(events_key(job_id))
            jobs.redis.set(events_key(job_id), "not a stream")
            assert [line for line in lines if line.startswith("event")] == []
        jobs.redis.delete(events_key(job_id))
        assert client.get(f"{url}/healthz").status_code == 200


def test_a_key_that_is_revoked_ends_the_stream(jobs: Jobs, url: str) -> None:
    keys = Keys(jobs.settings.data_dir)
    key, token = keys.create("made", "local", ("read",))
    job_id = submitted(jobs)
    address, headers = f"{url}/v1/jobs/{job_id}/events", {"X-API-Key": token}
    with httpx.Client(timeout=DEADLINE_S, trust_env=False, headers=headers) as client:
        until(lambda: httpx.get(address, trust_env=False).status_code == 401)  # the gateway knows the key
        with client.stream("GET", address) as answer:
            lines = answer.iter_lines()
            assert next(line for line in lines if line.startswith(":")) == ": beat"
            keys.revoke(key.id)
            until(lambda: client.get(f"{url}/v1/jobs/{job_id}").status_code == 401)
            jobs.cancel(job_id)
            assert [line for line in lines if line.startswith("event")] == []
        assert client.get(address).status_code == 401
