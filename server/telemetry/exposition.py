"""What `/metrics` says: what this gateway counted, and what queue, workers and disk are like now.

Of several gateways each shows its own counts, and all of them the same queue and workers. A test compares every name
with `docs/metrics.md`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from server.telemetry.looks import Disk, Queue, Scene
from server.web.counting.counters import REGISTRY
from workers.core.queue.census import Census, Standing
from workers.core.schemas import FINAL_STATES, JobState, Priority
from workers.core.telemetry.tallies import KNOWN

SETS_MAX = 200
"""Sets of labels that are shown of one count of the workers. Their models are the operator's, and few; should they not
be, a page of numbers shall not become a book."""

STATES = [state for state in get_args(JobState) if state not in FINAL_STATES]
PRIORITIES = get_args(Priority)


Values = dict[tuple[str, ...], float]
"""Numbers by the values of their labels."""


class Gauge(NamedTuple):
    """A number that goes up and down: name without `ldiffusion_`, what it is, its values by labels."""

    name: str
    about: str
    values: Values
    labels: tuple[str, ...] = ()


class Shown:
    """All metrics of one scrape, as a registry gives them; milliseconds of work, and so for a thread.

    Args:
        scene: What was found.
        version: Of the server.
    """

    def __init__(self, scene: Scene, version: str) -> None:
        self._scene = scene
        self._version = version

    def collect(self) -> Iterator[Metric]:
        """Yield one family after the other."""
        yield from REGISTRY.collect()
        for gauge in self._gauges():
            family = GaugeMetricFamily(f"ldiffusion_{gauge.name}", gauge.about, labels=gauge.labels)
            for labels, value in gauge.values.items():
                family.add_metric(labels, value)
            yield family
        if self._scene.queue is not None:
            yield from _counted(self._scene.queue)

    def _gauges(self) -> Iterator[Gauge]:
        queue, disk, busy, waiting = self._scene
        yield Gauge("build_info", "1, with the version of the server.", {(self._version,): 1}, ("version",))
        yield _one("queue_up", "1 if the queue answered; if it did not, all of it is left out.", queue is not None)
        yield _one("disk_up", "1 if the disk of the data folder answered.", disk is not None)
        yield _one("tile_children_busy", "Children that decode tiles for viewers now.", busy)
        yield _one("tile_requests_waiting", "Requests that wait for such a child.", waiting)
        if disk is not None:
            yield from _of_disk(disk)
        if queue is not None:
            yield from _of_queue(queue.census)
            yield from _of_jobs(queue.census.standings)
            yield from _of_workers(queue.census)


def _one(name: str, about: str, value: float) -> Gauge:
    return Gauge(name, about, {(): float(value)})


def _of_disk(disk: Disk) -> Iterator[Gauge]:
    yield _one("disk_size_bytes", "Size of the disk of the data folder.", disk.size)
    yield _one("disk_free_bytes", "What is free of it.", disk.free)


def _of_queue(census: Census) -> Iterator[Gauge]:
    by = ("queue",)
    queues = {each.queue.removeprefix("ldiffusion:"): each for each in census.queues}
    tasks: Values = {(name,): float(each.tasks) for name, each in queues.items()}
    oldest: Values = {(name,): each.oldest_s for name, each in queues.items()}
    yield Gauge("queue_tasks", "Tasks that were handed out and that no worker has taken yet.", tasks, by)
    yield Gauge("queue_oldest_seconds", "Age of the one that is next; 0 if there is none.", oldest, by)
    yield _one("webhooks_pending", "Jobs that have ended and whose webhook is to be called.", census.webhooks)


def _of_jobs(standings: Iterable[Standing]) -> Iterator[Gauge]:
    by = ("state", "priority")
    found: dict[tuple[str, ...], Standing] = {(each.state, each.priority): each for each in standings}
    every: list[tuple[str, ...]] = [(state, priority) for state in STATES for priority in PRIORITIES]
    jobs: Values = {each: float(found[each].jobs) if each in found else 0.0 for each in every}
    oldest: Values = {each: found[each].oldest_s if each in found else 0.0 for each in every}
    tasks: defaultdict[tuple[str, ...], float] = defaultdict(float, {(priority,): 0.0 for priority in PRIORITIES})
    for (_, priority), each in found.items():
        tasks[priority,] += each.tasks
    yield Gauge("jobs", "Jobs that have not ended.", jobs, by)
    yield Gauge("jobs_oldest_seconds", "Time since the oldest of them was asked for.", oldest, by)
    yield Gauge("waiting_tasks", "Plans and regions that wait with their jobs for their turn.", tasks, ("priority",))


def _of_workers(census: Census) -> Iterator[Gauge]:
    told = [each for each in census.workers.values() if each is not None]
    models = Counter((each.model or "", each.device) for each in told)
    yield _one("workers", "Workers that gave a sign of life of late.", len(census.workers))
    yield _one("workers_busy", "Sum of their busy shares of the last minute.", sum(each.busy_share for each in told))
    yield _one("workers_memory_bytes", "Memory of all of them.", sum(each.memory_bytes for each in told))
    share = max((each.memory_bytes / max(1, each.memory_max_bytes) for each in told), default=0.0)
    yield _one("worker_memory_share_max", "The largest part that one has of what it may take.", share)
    by = ("model", "device")
    yield Gauge("workers_with_model", "Workers by the model in memory.", dict(models.most_common(SETS_MAX)), by)


def _counted(queue: Queue) -> Iterator[Metric]:
    """Yield what workers counted, also what none has yet: so that an alert knows a name before it is needed."""
    sums: defaultdict[str, list[tuple[Sequence[str], float]]] = defaultdict(list)
    for tally, labels, value in queue.sums:
        sums[tally.name].append((labels, value))
    for name, tally in KNOWN.items():
        family = CounterMetricFamily(f"ldiffusion_{name}", tally.about, labels=tally.labels)
        for values, value in sums[name][:SETS_MAX] or ([] if tally.labels else [((), 0.0)]):
            family.add_metric(values, value)
        yield family
