"""A job's record in Redis as a client sees it: state, counts, rates, the time that is left."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

from workers.core.frozen import LOCAL_TENANT
from workers.core.queue.events import Progress
from workers.core.schemas import ErrorBody, JobRequest, JobState, JobView, Preflight, WebhookDelivery

DELIVERY = "delivery"
"""Field of a job's record: the delivery of its webhook."""

PHASE_OF = {"planning": "planning", "running": "segmenting"}
"""What is being done in a state that does one thing only."""


HAS_BEGUN = frozenset({"has_turn", "first_region_at"})
"""Fields of the record of a job of which a region had its turn; one that is planned and waits is queued."""


def view_of(job_id: str, record: Mapping[str, str], left: int) -> JobView:
    """Return what a client may see of a job.

    Args:
        job_id: Its id.
        record: Its hash.
        left: Regions that have not landed.
    """
    request = JobRequest.model_validate_json(record["request"])
    times: dict[str, Any] = {name: record.get(name) for name in ("created_at", "started_at", "finished_at")}
    return JobView(
        id=job_id,
        tenant=record.get("tenant", LOCAL_TENANT),
        request=request,
        webhook=None if request.webhook is None else delivery_of(record),
        preflight=Preflight.model_validate_json(record["preflight"]) if "preflight" in record else None,
        error=ErrorBody.model_validate_json(record["error"]) if "error" in record else None,
        **progress_of(record, left).model_dump(),
        **{name: None if text is None else datetime.fromisoformat(text) for name, text in times.items()},
    )


def delivery_of(record: Mapping[str, str]) -> WebhookDelivery:
    """Return how far the news of the end of a job has come; nothing of it in the record: nobody was called yet."""
    stored = record.get(DELIVERY)
    return WebhookDelivery() if stored is None else WebhookDelivery.model_validate_json(stored)


def progress_of(record: Mapping[str, str], left: int) -> Progress:
    """Return where a job stands."""
    state = cast("JobState", record["state"])
    if state == "running" and not HAS_BEGUN & record.keys():
        state = "queued"
    total = int(record["regions_total"]) if "regions_total" in record else None
    done = int(record["regions_done"]) if "regions_done" in record else (total or 0) - left
    has_begun = state == "running" and "first_region_at" in record
    since_s = elapsed_s(record["first_region_at"]) if has_begun else None
    return Progress(
        state=state,
        phase=record.get("phase") if state == "finishing" else PHASE_OF.get(state),
        regions_done=done,
        regions_total=total,
        tiles_per_s=_tiles_per_s(record, since_s),
        eta_s=_eta_s(since_s, done, left, int(record.get("regions_before", 0))),
    )


def elapsed_s(first_region_at: str) -> float:
    """Return the seconds since the first region was begun, of when that was as a record has it."""
    return (datetime.now(UTC) - datetime.fromisoformat(first_region_at)).total_seconds()


def _tiles_per_s(record: Mapping[str, str], since_s: float | None) -> float | None:
    tiles = float(record.get("tiles", 0))
    return round(tiles / since_s, 3) if tiles and since_s is not None and since_s > 0 else None


def _eta_s(since_s: float | None, done: int, left: int, before: int) -> float | None:
    """Seconds for the regions that are left, at the rate of those done in this run; None before the first is."""
    if since_s is None or done <= before:
        return None
    return round(since_s / (done - before) * left, 1)
