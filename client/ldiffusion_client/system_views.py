"""What the server says of itself: how busy it is, what a tenant has, and to its operator who works and what is full."""

from datetime import datetime

from ldiffusion_client.views import Priority, View


class QueueLoad(View):
    """What of one priority waits and runs, of all tenants. `oldest_s`: seconds since the oldest was asked for."""

    priority: Priority
    waiting: int
    oldest_s: float
    at_work: int
    waiting_tasks: int


class WorkerView(View):
    """A worker at its last sign of life. `busy_share` is of the last minute, memory in bytes."""

    id: str
    model: str | None = None
    device: str
    busy_share: float
    memory_bytes: int
    memory_max_bytes: int
    since: datetime


class Storage(View):
    """The disk of the data folder, in bytes; uploads leave `reserve_bytes` of it free."""

    size_bytes: int
    free_bytes: int
    used_bytes: int
    reserve_bytes: int


class OperatorView(View):
    """What concerns who runs the server. Tile children decode for viewers."""

    workers: tuple[WorkerView, ...]
    storage: Storage | None = None
    webhooks_pending: int
    tile_children_busy: int
    tile_requests_waiting: int


class SystemView(View):
    """The server as it was within the last seconds; `operator` for keys with the scope `admin`."""

    version: str
    workers: int
    busy_share: float
    models: tuple[str, ...]
    queue: tuple[QueueLoad, ...]
    operator: OperatorView | None = None


class Usage(View):
    """What a tenant has, and may have: counts and bytes. A limit of 0 is none."""

    slides: int
    slides_bytes: int
    jobs: int
    jobs_bytes: int
    batches: int
    batches_bytes: int
    uploads: int
    uploads_bytes: int
    stored_bytes: int
    quota_bytes: int
    unfinished_jobs: int
    quota_jobs: int
    batches_max: int
