"""The queues of RQ, and their entries, which can do no harm, whoever wrote them into Redis; what RQ is told of one."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from rq import Queue, Retry
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from workers.core.queue.keys import (
    BATCH_CONTROL_QUEUE,
    BATCH_HEAVY_QUEUE,
    BATCH_REGION_QUEUE,
    CONTROL_QUEUE,
    FINISH_SLIDE,
    HEAVY_QUEUE,
    REGION_QUEUE,
    TASK_FUNCTIONS,
    at_host,
)
from workers.core.schemas import OUTPUTS
from workers.core.settings import Settings

FAILURE_TTL_S = 24 * 3600
"""How long the queue keeps the traceback of a task that failed."""


HEAVY_QUEUES = HEAVY_QUEUE, BATCH_HEAVY_QUEUE
QUEUES = CONTROL_QUEUE, HEAVY_QUEUE, REGION_QUEUE, BATCH_CONTROL_QUEUE, BATCH_HEAVY_QUEUE, BATCH_REGION_QUEUE
"""In the order in which workers look at them: what is interactive goes before every batch."""


class TaskRefused(Exception):
    """The queue held something that is none of our tasks."""


class TaskJob(Job):
    """Runs one of our tasks or nothing; its callbacks and web hooks are none.

    Attributes:
        model: Of a region that was handed out; else empty.
        passed: How often a later one was taken instead.
    """

    model: str = ""
    passed: int = 0

    def restore(self, raw_data: Mapping[bytes, bytes]) -> Any:
        """Take over what Redis has of the entry, what is not RQ's as well."""
        self.model = raw_data.get(b"model", b"").decode()
        self.passed = int(raw_data.get(b"passed", 0))
        return super().restore(raw_data)

    @property
    def func(self) -> Callable[..., Any] | None:
        """The function to run, imported only if it is on the list."""
        if self.func_name not in TASK_FUNCTIONS or self.instance is not None:
            raise TaskRefused(f"{self.func_name!r} is not on the list of tasks")
        function: Callable[..., Any] | None = super().func
        return function

    @property
    def success_callback(self) -> None:
        """None: a name in Redis is no reason to import it."""
        return

    @property
    def failure_callback(self) -> None:
        """None, for the same reason."""
        return

    @property
    def stopped_callback(self) -> None:
        """None, for the same reason."""
        return

    def send_webhooks(self, *args: Any, **kwargs: Any) -> None:
        """Send nothing: an address in Redis is no reason to call it."""


class Lane(NamedTuple):
    """The queues of a priority and a host: of plans and finishes, of regions, of regions for workers with a GPU."""

    control: Queue
    regions: Queue
    heavy: Queue


class Queues:
    """All queues of a server.

    Args:
        redis: The client.
    """

    def __init__(self, redis: Any) -> None:
        self._redis = redis
        self._made: dict[str, Queue] = {}

    def lane(self, priority: str, host: str) -> Lane:
        """Return the queues of a priority and a host; no host: those for all."""
        names = QUEUES[3:] if priority == "batch" else QUEUES[:3]
        control, heavy, regions = (self._named(name, host) for name in names)
        return Lane(control, regions, heavy)

    def served(self, host: str, *, has_gpu: bool) -> tuple[Queue, ...]:
        """Return the queues that a worker of a host looks at, in this order."""
        names = [name for name in QUEUES if has_gpu or name not in HEAVY_QUEUES]
        return tuple(self._named(name, each) for name in names for each in sorted({"", host}))

    def of_all(self, hosts: Iterable[str]) -> tuple[Queue, ...]:
        """Return all queues of hosts."""
        return tuple(self._named(name, host) for host in hosts for name in QUEUES)

    def _named(self, name: str, host: str) -> Queue:
        full = at_host(name, host)
        if full not in self._made:
            self._made[full] = Queue(full, connection=self._redis, job_class=TaskJob, serializer=JSONSerializer)
        return self._made[full]


def options_of(settings: Settings, function: str) -> dict[str, Any]:
    """Return what RQ is told of every task of a function."""
    retries = settings.task_retries * (len(OUTPUTS) + 1 if function == FINISH_SLIDE else 1)
    return {
        "timeout": settings.job_timeout_s,
        "result_ttl": 0,
        "failure_ttl": FAILURE_TTL_S,
        "retry": Retry(max=retries) if retries else None,
    }


def entry_of(settings: Settings, queue: Queue, function: str) -> dict[str, str]:
    """Return the fields of an entry that calls a function, as RQ writes them; those of its task are others'."""
    job = queue.create_job(function, status=JobStatus.QUEUED, **options_of(settings, function))
    job.origin, job.enqueued_at = queue.name, job.created_at
    fields = job.to_dict(include_meta=False, include_result=False)
    del fields["data"], fields["description"]
    return {name: str(getattr(value, "value", value)) for name, value in fields.items()}
