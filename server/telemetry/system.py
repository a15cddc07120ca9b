"""What `GET /v1/system` says: for everybody how busy the server is, for its operator who works and how full it is."""

from collections.abc import Sequence

from pydantic import Field

from server.telemetry.looks import Scene
from workers.core.errors.base import QueueUnavailable
from workers.core.frozen import Frozen
from workers.core.queue.census import Standing
from workers.core.schemas import Priority
from workers.core.telemetry.status import WorkerState


class QueueLoad(Frozen):
    """What of one priority waits and runs, of all tenants."""

    priority: Priority
    waiting: int = Field(description="Jobs that have not had their turn.")
    oldest_s: float = Field(description="Seconds since the oldest of them was asked for; 0 if there is none.")
    at_work: int = Field(description="Jobs that are planned, segmented or finished.")
    waiting_tasks: int = Field(description="Plans and regions that wait for their turn.")


class Storage(Frozen):
    """The disk of the data folder, in bytes."""

    size_bytes: int
    free_bytes: int
    used_bytes: int = Field(description="By whatever lies on that disk.")
    reserve_bytes: int = Field(description="What uploads leave free.")


class WorkerView(WorkerState):
    """A worker, by the id that the log has."""

    id: str


class OperatorView(Frozen):
    """What concerns who runs the server."""

    workers: tuple[WorkerView, ...] = Field(description="Those that tell how they are.")
    storage: Storage | None = Field(description="None: the disk did not answer.")
    webhooks_pending: int = Field(description="Jobs that have ended and whose webhook is to be called.")
    tile_children_busy: int = Field(description="Children that decode tiles for viewers, of this gateway.")
    tile_requests_waiting: int = Field(description="Requests that wait for one.")


class SystemView(Frozen):
    """The server as it was within the last seconds."""

    version: str
    workers: int = Field(description="Workers that gave a sign of life of late.")
    busy_share: float = Field(description="Mean of their busy shares of the last minute.")
    models: tuple[str, ...] = Field(description="Names of the installed models.")
    queue: tuple[QueueLoad, ...]
    operator: OperatorView | None = Field(default=None, description="For keys with the scope `admin`.")


def system_of(
    scene: Scene, version: str, models: Sequence[str], reserve_bytes: int, *, for_operator: bool
) -> SystemView:
    """Return what is told of the server.

    Args:
        scene: What was found.
        version: Of the server.
        models: Names of those that are installed.
        reserve_bytes: What uploads leave free of the disk.
        for_operator: Whether all of it is told.

    Raises:
        QueueUnavailable: The queue did not answer.
    """
    if scene.queue is None:
        raise QueueUnavailable("The queue does not answer.")
    census = scene.queue.census
    states = [state for state in census.workers.values() if state is not None]
    share = sum(each.busy_share for each in states) / len(states) if states else 0.0
    return SystemView(
        version=version,
        workers=len(census.workers),
        busy_share=round(share, 3),
        models=tuple(models),
        queue=tuple(_load(priority, census.standings) for priority in ("interactive", "batch")),
        operator=_operator(scene, reserve_bytes) if for_operator else None,
    )


def _load(priority: Priority, standings: Sequence[Standing]) -> QueueLoad:
    own = [each for each in standings if each.priority == priority]
    waiting = [each for each in own if each.state == "queued"]
    return QueueLoad(
        priority=priority,
        waiting=sum(each.jobs for each in waiting),
        oldest_s=max((each.oldest_s for each in waiting), default=0.0),
        at_work=sum(each.jobs for each in own if each.state != "queued"),
        waiting_tasks=sum(each.tasks for each in own),
    )


def _operator(scene: Scene, reserve_bytes: int) -> OperatorView:
    census = scene.queue.census if scene.queue is not None else None
    workers = census.workers.items() if census is not None else ()
    disk = scene.disk
    return OperatorView(
        workers=tuple(WorkerView(id=name, **dict(state)) for name, state in workers if state is not None),
        storage=None
        if disk is None
        else Storage(
            size_bytes=disk.size, free_bytes=disk.free, used_bytes=disk.size - disk.free, reserve_bytes=reserve_bytes
        ),
        webhooks_pending=census.webhooks if census is not None else 0,
        tile_children_busy=scene.tile_children_busy,
        tile_requests_waiting=scene.tile_requests_waiting,
    )
