"""Jobs and batches as a client asks for them and follows them, free of sockets."""

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypedDict

from ldiffusion_client.errors import Busy, JobEnded, Missing, Unreachable, failure
from ldiffusion_client.labels import SlideFilter, params_of
from ldiffusion_client.protocol import (
    Ask,
    Deadline,
    M,
    Open,
    Pause,
    Read,
    Steps,
    listed,
    look,
    once,
    parsed,
    retrying,
)
from ldiffusion_client.records import RoiCheck
from ldiffusion_client.views import (
    FINAL_STATES,
    BatchView,
    JobState,
    JobView,
    OnBadTile,
    OutputName,
    Page,
    Priority,
    Progress,
    QualityName,
)

JOBS, BATCHES, ROI_CHECK = "/v1/jobs", "/v1/batches", "/v1/roi/check"
POLL_S = 1.0
POLLS_WITHOUT_EVENTS = 30
"""How often the job itself is asked for before events are tried again that the server had refused."""

HEARD_WITHIN_S = 30.0
"""A stream of events is heard of more often than this. Nearer to its deadline, a client does not listen: it asks."""

SILENCE_S = 120.0
SeenJob = Callable[[Progress], None]
SeenBatch = Callable[[BatchView], None]


class JobOptions(TypedDict, total=False):
    """What may be asked of a job besides its slide, with the defaults of docs/api.md."""

    model: str
    mpp: float
    seed: int
    region_px: int
    tissue: bool
    roi: Any
    image: int
    ignore_modality: bool
    outputs: Sequence[OutputName]
    priority: Priority
    on_bad_tile: OnBadTile
    quality: bool
    exclude_quality: bool | Sequence[QualityName]
    webhook: dict[str, str]


class JobSubmission(JobOptions, total=False):
    """That, and labels of one's own."""

    labels: dict[str, str]


class JobFilter(SlideFilter, total=False):
    """Which jobs to list: name and SHA-256 are those of the slide, labels those of the job or of its slide."""

    state: Sequence[JobState]
    slide: str
    model: str


def check_roi(roi: Any, slide_id: str | None, patience_s: float) -> Steps[RoiCheck]:
    """Have a region of interest looked at.

    Raises:
        Refused, Missing, RemoteError.
    """
    asked = Ask("POST", ROI_CHECK, json={"roi": roi, "slide_id": slide_id})
    return parsed(RoiCheck, (yield from retrying(asked, patience_s)))


def submit(slide_id: str, options: JobSubmission, key: str | None, patience_s: float) -> Steps[JobView]:
    """Submit a job. Sent again after a lost answer, it is still one job.

    Raises:
        Refused, Missing, RemoteError.
    """
    return (yield from _asked_for(JOBS, JobView, {"slide_id": slide_id, **options}, key, patience_s))


def submit_batch(
    slide_ids: Sequence[str], options: JobSubmission, key: str | None, patience_s: float
) -> Steps[BatchView]:
    """Submit a job for each slide.

    Raises:
        Refused, RemoteError.
    """
    return (yield from _asked_for(BATCHES, BatchView, {"slide_ids": list(slide_ids), **options}, key, patience_s))


def list_jobs(limit: int | None, wanted: JobFilter) -> Steps[list[JobView]]:
    """List jobs, the newest first.

    Raises:
        RemoteError.
    """
    return (yield from listed(JOBS, Page[JobView], limit, **params_of(wanted)))


def list_batches(limit: int | None) -> Steps[list[BatchView]]:
    """List batches, the newest first.

    Raises:
        RemoteError.
    """
    return (yield from listed(BATCHES, Page[BatchView], limit))


def delete_job(job_id: str) -> Steps[JobView | None]:
    """Cancel a job that has not ended and return it; delete one that has.

    Not sent again when the answer is lost: what was canceled by the first request would be deleted by the second.

    Raises:
        Missing, RemoteError.
    """
    answer = yield from once(Ask("DELETE", f"{JOBS}/{job_id}"))
    return parsed(JobView, answer) if answer.content else None


def cancel_batch(batch_id: str, *, running: bool) -> Steps[BatchView]:
    """Cancel the jobs of a batch that have not started; with `running`, those at work as well.

    Raises:
        Missing, RemoteError.
    """
    batch = yield from look(f"{BATCHES}/{batch_id}", BatchView)
    if batch.done:  # there is nothing to cancel, and the request would delete it
        return batch
    answer = yield from once(Ask("DELETE", f"{BATCHES}/{batch_id}", {"running": str(running).lower()}))
    return parsed(BatchView, answer) if answer.content else batch


def delete_batch(batch_id: str, *, jobs: bool) -> Steps[BatchView | None]:
    """Cancel a batch that is not done and return it; delete one that is, or with `jobs` any and all of its jobs.

    Raises:
        Missing, RemoteError.
    """
    answer = yield from once(Ask("DELETE", f"{BATCHES}/{batch_id}", {"jobs": str(jobs).lower()}))
    return parsed(BatchView, answer) if answer.content else None


def wait(job_id: str, seen: SeenJob, timeout_s: float | None, patience_s: float) -> Steps[JobView]:
    """Follow a job by its events, or by asking where those do not come, until it has succeeded.

    Raises:
        JobEnded: It failed or was canceled.
        Missing: There is none, or no more.
        TookTooLong, RemoteError.
    """
    deadline = Deadline(job_id, timeout_s)
    last_id, polls = "", 0
    while True:
        view = yield from look(f"{JOBS}/{job_id}", JobView, patience_s)
        seen(Progress(**view.model_dump(include=set(Progress.model_fields))))
        if view.state in FINAL_STATES:
            return succeeded(view)
        if polls > 0 or _is_near(deadline):
            polls = max(0, polls - 1)
        else:
            ended, last_id = yield from _listen(job_id, last_id, seen, deadline)
            polls = POLLS_WITHOUT_EVENTS if ended is None and not last_id else 0
            if ended is not None:
                return succeeded(ended)
        deadline.check()
        yield Pause(deadline.left(POLL_S))


def wait_batch(batch_id: str, seen: SeenBatch, timeout_s: float | None, patience_s: float) -> Steps[BatchView]:
    """Ask for a batch until nothing of it waits or runs. Jobs that failed are no error here: they are in its items.

    Raises:
        Missing, TookTooLong, RemoteError.
    """
    deadline = Deadline(batch_id, timeout_s)
    while True:
        batch = yield from look(f"{BATCHES}/{batch_id}", BatchView, patience_s)
        seen(batch)
        if batch.done:
            return batch
        deadline.check()
        yield Pause(deadline.left(POLL_S))


def succeeded(view: JobView) -> JobView:
    """Return a job that has succeeded.

    Raises:
        JobEnded: It has ended in another way.
    """
    if view.state != "succeeded":
        raise JobEnded(view)
    return view


class Event(NamedTuple):
    """One Server-Sent Event."""

    id: str
    kind: str
    data: str


class EventParser:
    """Makes events of the bytes of a stream, in whatever pieces they come."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, piece: bytes) -> Iterator[Event]:
        """Yield the events that are whole by now; comments and other fields are passed over."""
        *blocks, self._held = (self._held + piece).split(b"\n\n")
        for block in blocks:
            lines = [line.partition(":") for line in block.decode().split("\n")]
            fields = {name: value.removeprefix(" ") for name, _, value in lines if name}
            if "data" in fields:
                yield Event(fields.get("id", ""), fields.get("event", "message"), fields["data"])


def _asked_for(address: str, kind: type[M], body: dict[str, Any], key: str | None, patience_s: float) -> Steps[M]:
    headers = {"Idempotency-Key": key or uuid.uuid4().hex}
    return parsed(kind, (yield from retrying(Ask("POST", address, headers=headers, json=body), patience_s)))


def _listen(job_id: str, last_id: str, seen: SeenJob, deadline: Deadline) -> Steps[tuple[JobView | None, str]]:
    """Listen until the stream ends or breaks.

    Returns:
        The job, if its end was told; the id of the last event, empty if none came.
    """
    parser = EventParser()
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
    try:
        events = Open(f"{JOBS}/{job_id}/events", headers=headers, piece_bytes=None, silence_s=deadline.left(SILENCE_S))
        yield from once(events)
        while not _is_near(deadline) and (piece := (yield Read())):
            for event in parser.feed(piece):
                last_id = event.id or last_id
                if event.kind == "end":
                    return _ending(event), last_id
                seen(Progress.model_validate_json(event.data))
    except (Unreachable, Busy):  # too many listen, or the line broke: the job itself is asked for
        return None, last_id
    return None, last_id


def _is_near(deadline: Deadline) -> bool:
    return deadline.left(HEARD_WITHIN_S) < HEARD_WITHIN_S


def _ending(event: Event) -> JobView:
    if '"deleted"' in event.data and json.loads(event.data).get("state") == "deleted":
        raise failure(Missing, "job_not_found", "The job was deleted.", json.loads(event.data).get("id"))
    return JobView.model_validate_json(event.data)
