"""Names of everything this project keeps in Redis, and of the four tasks a queue may carry."""

import re
import uuid
from dataclasses import dataclass
from typing import Literal

CONTROL_QUEUE = "ldiffusion:control"
"""Plans and finishes: short, served first."""

REGION_QUEUE = "ldiffusion:regions"
"""One task per region."""

HEAVY_QUEUE = "ldiffusion:heavy-regions"
"""Regions of heavy models while workers with a GPU live beside others: for those, which look here first."""

BATCH_CONTROL_QUEUE = "ldiffusion:batch-control"
BATCH_REGION_QUEUE = "ldiffusion:batch-regions"
BATCH_HEAVY_QUEUE = "ldiffusion:batch-heavy-regions"
"""The same three for jobs of priority `batch`: served when the others are empty."""

JOBS = "ldiffusion:jobs"
"""Sorted set: job id → time of creation."""

ACTIVE = "ldiffusion:active"
"""Set of the ids of jobs that have not ended."""

REAPER_LOCK = "ldiffusion:reaper"
"""Held for one heartbeat by the worker that sweeps."""

RATES = "ldiffusion:rates"
"""Hash: digest of a model → seconds of one forward pass, as measured of late."""

WEBHOOKS = "ldiffusion:webhooks"
"""Sorted set: id of a job that has ended → time at which its webhook is to be called."""

OUT = "ldiffusion:out"
"""Hash: `job_id task_name` of each plan, region and finish that is in a queue or with a worker."""

TURN = "ldiffusion:turn"
"""Counter of what was handed out to the queues."""

TURN_BEFORE = "ldiffusion:turn-had:"
"""Before a priority, at a host: `plan`, or `of` and the model of the regions, whichever had its turn last."""

TASK_SECONDS = "ldiffusion:task-seconds"
"""Hash: `plan`, `region` → seconds that one takes, as measured of late."""

UNWRITTEN = "ldiffusion:unwritten"
"""Set: ids of jobs that have ended here and whose end the disk could not take yet."""

GOING = "ldiffusion:going"
"""Set: ids of jobs that are being deleted. Who is in it and has no folder is forgotten by the next sweep."""

WORKERS = "ldiffusion:workers"
"""Sorted set: id of a worker → time of its last sign of life. Alive is who has a `worker_key`; others soon go."""

HOSTS = "ldiffusion:hosts"
"""Sorted set: name of a data folder, where workers have some of their own → last sign of life of one of its workers."""

TALLIES = "ldiffusion:tallies"
"""Hash: what was counted, of whom, as JSON (`workers.core.telemetry.tallies`) → sum over all workers, since ever."""

PLAN_SLIDE = "workers.tasks.plan_slide"
SEGMENT_REGION = "workers.tasks.segment_region"
FINISH_SLIDE = "workers.tasks.finish_slide"
MAKE_PRODUCT = "workers.product_tasks.make_product"
TASK_FUNCTIONS = frozenset({PLAN_SLIDE, SEGMENT_REGION, FINISH_SLIDE, MAKE_PRODUCT})
"""The only functions a worker runs, whatever a queue may hold."""


@dataclass(frozen=True, slots=True)
class JobKeys:
    """Keys of one job."""

    job_id: str

    @property
    def record(self) -> str:
        """Hash: state, request, times, counts, error."""
        return f"ldiffusion:job:{self.job_id}"

    @property
    def todo(self) -> str:
        """Set: indices of the regions that have not landed. It only ever shrinks."""
        return f"{self.record}:todo"

    @property
    def waiting(self) -> str:
        """List: `plan`, or the regions, that are not in a queue yet."""
        return f"{self.record}:waiting"

    @property
    def leases(self) -> str:
        """Hash: task name → lease of the worker that runs it."""
        return f"{self.record}:leases"

    @property
    def attempts(self) -> str:
        """Hash: task name → times it was begun."""
        return f"{self.record}:attempts"

    @property
    def missing(self) -> str:
        """Hash: task name → time at which the reaper first found it neither queued nor leased."""
        return f"{self.record}:missing"

    @property
    def products(self) -> str:
        """Hash: product that somebody waits for → who makes it."""
        return f"{self.record}:products"

    @property
    def working(self) -> tuple[str, ...]:
        """What is of no use once the job has ended; products are asked for after that, and go with the job."""
        return self.todo, self.waiting, self.leases, self.attempts, self.missing, self.products


def worker_key(worker_id: str) -> str:
    """Return the key that exists as long as the worker gives signs of life."""
    return f"ldiffusion:worker:{worker_id}"


def workers_key(host: str) -> str:
    """Return the key of `WORKERS`, or of those of one host."""
    return at_host(WORKERS, host)


def at_host(name: str, host: str) -> str:
    """Return the name of what is for the workers of one host, or of all (empty)."""
    return f"{name}@{host}" if host else name


def turns_key(priority: str, lane: str, tenant: str | None = None) -> str:
    """Return the key of a sorted set: tenants (or the jobs of one) that wait with a plan or regions → last turn."""
    key = f"ldiffusion:turns:{priority}:{lane}"
    return key if tenant is None else f"{key}:{tenant}"


def out_key(tenant: str) -> str:
    """Return the key of a set, where there is a cap on regions of a tenant: its jobs of which some may be out."""
    return f"ldiffusion:turns-out:{tenant}"


@dataclass(frozen=True, slots=True)
class Task:
    """One queued piece of a job. The queue carries its ids only."""

    job_id: str
    kind: Literal["plan", "region", "finish", "product"]
    index: int = 0
    product: str = ""

    @property
    def name(self) -> str:
        """Name within the job: `plan`, `region-12`, `finish`, `product-segmentation-dcm`."""
        if self.kind == "product":
            return "product-" + re.sub("[^0-9a-z]", "-", self.product)
        return f"region-{self.index}" if self.kind == "region" else self.kind

    @property
    def waits_as(self) -> str:
        """What stands for it in `JobKeys.waiting`."""
        return str(self.index) if self.kind == "region" else self.kind

    @property
    def out(self) -> str:
        """Its name in `OUT`."""
        return f"{self.job_id} {self.name}"

    @property
    def queue_prefix(self) -> str:
        """How each of its ids in the queue begins; a dash and a random part follow."""
        return f"{self.job_id}-{self.name}"

    def fresh_queue_id(self) -> str:
        """Return an id for one more entry in the queue.

        Never the same twice: when a worker that was given up for dead ends its entry after all, that must not
        remove the entry that replaced it.
        """
        return f"{self.queue_prefix}-{uuid.uuid4().hex[:12]}"

    @property
    def function(self) -> str:
        """Dotted name of the function that runs it."""
        names = {"plan": PLAN_SLIDE, "region": SEGMENT_REGION, "finish": FINISH_SLIDE, "product": MAKE_PRODUCT}
        return names[self.kind]

    @property
    def args(self) -> tuple[str] | tuple[str, int] | tuple[str, str]:
        """Arguments of the function."""
        if self.kind == "product":
            return self.job_id, self.product
        return (self.job_id, self.index) if self.kind == "region" else (self.job_id,)


def task_out(name: str) -> Task:
    """Return the task of a name in `OUT`."""
    job_id, _, task = name.partition(" ")
    if task.startswith("region-"):
        return Task(job_id, "region", int(task.removeprefix("region-")))
    return Task(job_id, "plan" if task == "plan" else "finish")


def prefix_of(queue_id: str) -> str:
    """Return the `queue_prefix` of the task that an id in the queue belongs to."""
    return queue_id.rpartition("-")[0]
