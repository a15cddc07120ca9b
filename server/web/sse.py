"""A job's events as Server-Sent Events, from the stream in Redis. Nothing here blocks the event loop.

Whoever comes without an id is told where the job stands, then what follows. Whoever comes with the id of the last event
that was seen gets what came after it; if that is no longer there, again where the job stands.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from weakref import finalize

from anyio import to_thread
from redis.exceptions import RedisError

from workers.core.errors.access import QuotaExceeded
from workers.core.errors.base import JobNotFound, QueueUnavailable
from workers.core.errors.jobs import TooManyListeners
from workers.core.queue.events import Progress, events_key
from workers.core.queue.exchange import ANSWER_S, connect_async
from workers.core.queue.jobs import Jobs
from workers.core.schemas import FINAL_STATES, JobView

HEARTBEAT_S = 15.0
"""A comment is sent after this long without an event, so that no proxy takes the connection for dead."""

AT_ONCE = 100

GLANCES = 5
"""How often a job is looked at for a moment in which nothing happens to it."""

SEAT_RETRY_S = 15.0
"""When a tenant whose seats are taken may ask again: somebody who hung up is noticed with the next heartbeat."""

BEGINNING = "0-0"
RETRY_MS = 2000
"""How long a client waits before it comes back."""


@dataclass(frozen=True, slots=True)
class Audience:
    """A client that follows a job.

    Attributes:
        tenant: Whose client it is.
        present: Adds to a job what this client needs besides, such as the addresses of its results.
        is_let_in: Whether it may still see what it asked for.
    """

    tenant: str
    present: Callable[[JobView], JobView]
    is_let_in: Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True, eq=False)
class _Seat:
    """The place of one client among the listeners."""

    tenant: str


class Listeners:
    """All clients that follow jobs.

    Args:
        jobs: The queue.
        redis_url: Its address.
        heartbeat_s: Seconds between two signs of life.
    """

    def __init__(self, jobs: Jobs, redis_url: str, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._jobs = jobs
        self._heartbeat_s = heartbeat_s
        self._redis = connect_async(redis_url, jobs.settings, heartbeat_s + ANSWER_S)
        self._seats: set[_Seat] = set()

    async def close(self) -> None:
        """Let go of the connections to Redis."""
        await self._redis.aclose()

    async def begin(self, job_id: str, last_id: str | None, audience: Audience) -> AsyncIterator[bytes] | None:
        """Return the events of a job as bytes; None if the client has seen its end.

        They end, whatever becomes of the job, when the client is not let in any more: asked for before anything is
        told, and with each heartbeat.

        Raises:
            JobNotFound: There is no such job.
            TooManyListeners: As many clients listen as the server takes.
            QuotaExceeded: As many of its tenant listen as one tenant may have.
            QueueUnavailable: Redis does not answer.
        """
        seat = self._take(audience.tenant)
        events = None
        try:
            events = await self._events(job_id, last_id, audience, seat)
        finally:
            if events is None:
                self._seats.discard(seat)
        if events is not None:  # a client that is gone before the first piece leaves by this way alone
            finalize(events, self._seats.discard, seat)
        return events

    def _take(self, tenant: str) -> _Seat:
        """Take a seat at once, before anything is waited for: of many that come together, none is let in too many."""
        most, share = self._jobs.settings.event_listeners_max, self._jobs.settings.event_listeners_per_tenant
        if len(self._seats) >= most:
            raise TooManyListeners("As many clients follow jobs as this server takes; ask for the job instead.")
        taken = sum(seat.tenant == tenant for seat in self._seats)
        if taken >= share:
            raise QuotaExceeded(
                "The tenant follows as many jobs as it may; ask for the job instead.",
                value=f"{taken} event streams open",
                accepted=f"at most {share} at once",
                retry_after_s=SEAT_RETRY_S,
            )
        seat = _Seat(tenant)
        self._seats.add(seat)
        return seat

    async def _events(
        self, job_id: str, last_id: str | None, audience: Audience, seat: _Seat
    ) -> AsyncGenerator[bytes, None] | None:
        view, newest = await self._standing(job_id)
        if view.state in FINAL_STATES and last_id is not None and last_id == (newest or BEGINNING):
            return None
        missed = last_id is not None and await self._reaches_back(job_id, last_id)
        return self._follow(view, last_id or BEGINNING if missed else newest, audience, seat, snapshot=not missed)

    async def _standing(self, job_id: str) -> tuple[JobView, str | None]:
        """Return where a job stands, and the id of the event that told it.

        Of a job that does not hold still the id is an earlier one: what came in between is told twice, never not at
        all.
        """
        newest = await self._newest(job_id)
        for _ in range(GLANCES):
            before, view, newest = newest, await self._view(job_id), await self._newest(job_id)
            if view.state in FINAL_STATES or newest == before:
                return view, newest
        return view, before

    async def _follow(
        self, view: JobView, seen: str | None, audience: Audience, seat: _Seat, *, snapshot: bool
    ) -> AsyncGenerator[bytes, None]:
        try:
            yield f"retry: {RETRY_MS}\n\n".encode()
            seen = seen or BEGINNING
            if snapshot:
                if view.state in FINAL_STATES:
                    yield event(seen, "end", audience.present(view).model_dump_json())
                    return
                shown = Progress(**view.model_dump(include=set(Progress.model_fields)))
                yield event(seen, "state", shown.model_dump_json())
            async for piece in self._after(view.id, seen, audience):
                yield piece
        except QueueUnavailable:
            return  # the client comes back by itself, and is told where the job stands
        finally:
            self._seats.discard(seat)

    async def _after(self, job_id: str, seen: str, audience: Audience) -> AsyncIterator[bytes]:
        while True:
            entries = await self._entries(job_id, seen)
            if not await audience.is_let_in():
                return
            for entry_id, kind, data in entries:
                seen = entry_id
                if kind == "end":
                    yield event(seen, kind, audience.present(await self._view(job_id)).model_dump_json())
                    return
                yield event(seen, kind, data)
            if not entries:
                try:
                    view = await self._view(job_id)
                except JobNotFound:
                    yield event(seen, "end", json.dumps({"id": job_id, "state": "deleted"}))
                    return
                if view.state in FINAL_STATES:  # the stream did not tell it, or Redis forgot the stream
                    yield event(seen, "end", audience.present(view).model_dump_json())
                    return
                yield b": beat\n\n"

    async def _entries(self, job_id: str, seen: str) -> list[tuple[str, str, str]]:
        try:
            answer = await self._redis.xread({events_key(job_id): seen}, AT_ONCE, round(self._heartbeat_s * 1000))
        except RedisError as error:
            raise QueueUnavailable(f"The queue does not answer ({type(error).__name__}).") from error
        found = answer.values() if isinstance(answer, dict) else (entries for _, entries in answer or ())
        return [
            (entry_id.decode(), fields[b"event"].decode(), fields[b"data"].decode())
            for entries in found
            for entry_id, fields in _flat(entries)
        ]

    async def _newest(self, job_id: str) -> str | None:
        found = await self._range(job_id, "+", "-", newest=True)
        return found[0] if found else None

    async def _reaches_back(self, job_id: str, last_id: str) -> bool:
        """Whether nothing between an id and now has been dropped from the stream: the id itself is still there."""
        return bool(await self._range(job_id, last_id, last_id, newest=False))

    async def _range(self, job_id: str, start: str, stop: str, *, newest: bool) -> list[str]:
        read = self._redis.xrevrange if newest else self._redis.xrange
        try:
            return [entry_id.decode() for entry_id, _ in await read(events_key(job_id), start, stop, count=1)]
        except RedisError as error:
            raise QueueUnavailable(f"The queue does not answer ({type(error).__name__}).") from error

    async def _view(self, job_id: str) -> JobView:
        return await to_thread.run_sync(self._jobs.view, job_id)


def event(event_id: str, kind: str, data: str) -> bytes:
    """Return one event on the wire; `data` is one line."""
    return f"id: {event_id}\nevent: {kind}\ndata: {data}\n\n".encode()


def _flat(entries: Any) -> list[Any]:
    """Return the entries of one stream: one version of the protocol wraps them once more."""
    wrapped = bool(entries) and isinstance(entries[0], list) and isinstance(entries[0][0], tuple | list)
    return list(entries[0] if wrapped else entries)
