"""A queue, its workers and its Redis, event by event: what `benchmarks.scaling` cannot measure on one machine.

Workers do what the product's do: pop a task, take its lease, hand out what is next, compute, land, in the exchanges
that were seen of a real one (`benchmarks.scaling_trace`). Redis is one server, first come, first served, that takes a
time for each command. A transaction whose watched keys another has changed meanwhile is begun again. Plans and finishes
are one worker's each; tenants take turns, and within a tenant its jobs.
"""

import heapq
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from itertools import count
from math import inf
from random import Random
from typing import Any

from benchmarks.scaling_costs import BEAT_S, JOB, Costs, Exchange, Scene, Segment
from benchmarks.scaling_turns import Job, Turns

Steps = Generator[tuple[str, Any], Any, Any]


@dataclass
class Simulation:
    """Workers at a queue.

    Args:
        costs: What was measured.
        scene: Of whom.
    """

    costs: Costs
    scene: Scene
    now: float = 0.0
    landings: list[float] = field(default_factory=list)
    spent: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Seconds of all workers: `compute`, `own`, `redis`, `queueing`, `repeats` (all of a try that was refused), `idle`,
    `plan`, `finish`; and of Redis: `served`, with `ops`, a number."""

    on_end: Callable[[Job], None] = lambda _: None

    def __post_init__(self) -> None:
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._chance = Random(0)
        self._free_at = 0.0
        self._versions: defaultdict[object, int] = defaultdict(int)
        self.turns = Turns(self.scene.workers)
        self._control: deque[tuple[str, Job]] = deque()
        self._regions: deque[tuple[str, Job]] = deque()
        self._idle: deque[tuple[Steps, float]] = deque()
        self._cores = Cores(self, self.scene.cores)
        for number in range(self.scene.workers):
            self.go_on(0.0, self._worker())
            if self.costs.beat_ops:
                self.at(BEAT_S * number / self.scene.workers, self._beat)

    @property
    def idle_since(self) -> list[float]:
        """Since when each of those waits who have nothing to do now."""
        return [since for _, since in self._idle]

    def submit(self, job: Job) -> None:
        """Have a job wait for its plan; or for its turn, if regions of it wait already."""
        if job.waiting:
            job.left = job.left or job.waiting
            self.turns.wait(job)
        else:
            self.turns.plans.append(job)
        self._feed_now()

    def run(self, until: float = inf) -> None:
        """Go on until a time, or until nothing happens any more but signs of life."""
        while self._events and self._events[0][0] <= until and (until < inf or len(self._idle) < self.scene.workers):
            self.now, _, act = heapq.heappop(self._events)
            act()

    def at(self, time: float, act: Callable[[], None]) -> None:
        """Do something at a time."""
        heapq.heappush(self._events, (time, next(self._order), act))

    def go_on(self, time: float, steps: Steps, value: Any = None) -> None:
        """Have a worker go on at a time."""
        self.at(time, lambda: self._go(steps, value))

    def _go(self, steps: Steps, value: Any = None) -> None:
        kind, what = steps.send(value)
        if kind == "redis":
            self.go_on(self._serve(what) + self.scene.net_s, steps)
        elif kind == "cpu":
            self._cores.take(what, steps)
        elif kind == "wait":
            self.go_on(self.now + what, steps)
        else:
            queue = self._control or self._regions
            if queue:
                self.go_on(self.now, steps, queue.popleft())
            else:
                self._idle.append((steps, self.now))

    def _serve(self, one: Exchange) -> float:
        """Return when Redis has answered."""
        service = one.ops * self.costs.op_s + one.roster * self.scene.workers * self.costs.roster_s
        begun = max(self.now, self._free_at)
        self._free_at = begun + service
        self.spent["queueing"] += begun - self.now
        self.spent["redis"] += service + self.scene.net_s
        self.spent["served"] += service
        self.spent["ops"] += one.ops
        return self._free_at

    def _beat(self) -> None:
        self._free_at = max(self.now, self._free_at) + self.costs.beat_ops * self.costs.op_s
        self.spent["served"] += self.costs.beat_ops * self.costs.op_s
        self.spent["ops"] += self.costs.beat_ops
        self.at(self.now + BEAT_S, self._beat)

    def _worker(self) -> Steps:
        while True:
            yield "redis", Exchange()  # the pop
            kind, job = yield "task", None
            if kind == "region":
                yield from self._region(job)
                continue
            seconds = self.costs.plan_s if kind == "plan" else self.costs.finish_s
            self.spent[kind] += seconds
            yield "wait", seconds
            if kind == "plan":
                job.waiting = job.left = job.regions
                self.turns.wait(job)
                yield from self._feed()
            else:
                self.on_end(job)

    def _region(self, job: Job) -> Steps:
        for segment in self.costs.claim:
            yield from self._whole(segment, job)
        if len(self._regions) < self.turns.room:
            yield from self._feed()
        for segment in self.costs.start:
            yield from self._whole(segment, job)
        seconds = self.scene.chunk_s * (1 + self.scene.spread * self._chance.uniform(-1, 1))
        self.spent["compute"] += seconds
        yield ("cpu" if self.scene.burns else "wait"), seconds
        for segment in self.costs.land:
            yield from self._whole(segment, job)

    def _feed(self) -> Steps:
        while (job := self._next()) is not None:
            yield from self._once(self.costs.hand_out, job)

    def _next(self) -> Job | None:
        return self.turns.next(len(self._regions), plan_queued=self._plan_queued())

    def _plan_queued(self) -> bool:
        return any(kind == "plan" for kind, _ in self._control)

    def _whole(self, segment: Segment, job: Job) -> Steps:
        while not (yield from self._once(segment, job)):
            segment = (segment[0]._replace(gap_s=0.0), *segment[1:])  # what was done before it stays done

    def _once(self, segment: Segment, job: Job) -> Steps:
        """Ask what belongs together; False if it was refused."""
        began = self.now
        seen: dict[object, int] = {}
        for one in segment:
            if one.gap_s:
                self.spent["own"] += one.gap_s
                yield "cpu", one.gap_s
            yield "redis", one
            if one.commits and any(self._versions[key] != version for key, version in seen.items()):
                self.spent["repeats"] += self.now - began
                return False
            for key in one.written:
                self._versions[_key(key, job)] += 1
            seen |= {key: self._versions[key] for key in (_key(name, job) for name in one.watched)}
            if one.effect == "handed out" and self._next() is not None:
                self._hand_out()
            elif one.effect == "landed":
                self._landed(job)
        return True

    def _landed(self, job: Job) -> None:
        self.landings.append(self.now)
        job.left -= 1
        if not job.left:
            self._push("finish", job)

    def _push(self, kind: str, job: Job) -> None:
        if self._idle:
            steps, since = self._idle.popleft()
            self.spent["idle"] += self.now - since
            self.go_on(self.now, steps, (kind, job))
        else:
            (self._regions if kind == "region" else self._control).append((kind, job))

    def _feed_now(self) -> None:
        """Hand out by somebody who is no worker and asks for nothing that counts: a gateway."""
        while self._next() is not None:
            self._hand_out()

    def _hand_out(self) -> None:
        kind, job, tasks = self.turns.take(plan_queued=self._plan_queued())
        for _ in range(tasks):
            self._push(kind, job)


class Cores:
    """Processors that all share alike, as far as there are more who compute than processors."""

    def __init__(self, simulation: Simulation, cores: float) -> None:
        self._simulation = simulation
        self._cores = cores
        self._done = self._since = 0.0
        self._ends: list[tuple[float, int, Steps]] = []
        self._order = count()
        self._turn = 0

    def take(self, seconds: float, steps: Steps) -> None:
        """Have a worker compute for so many seconds of a processor."""
        if self._cores == inf:
            self._simulation.go_on(self._simulation.now + seconds, steps)
            return
        self._advance()
        heapq.heappush(self._ends, (self._done + seconds, next(self._order), steps))
        self._plan()

    def _advance(self) -> None:
        """Bring to now what each of those who compute has had since the processors were first used."""
        now = self._simulation.now
        self._done += (now - self._since) * self._rate()
        self._since = now

    def _rate(self) -> float:
        return min(1.0, self._cores / len(self._ends)) if self._ends else 0.0

    def _plan(self) -> None:
        self._turn += 1
        if self._ends:
            wait_s = max(0.0, self._ends[0][0] - self._done) / self._rate()
            self._simulation.at(self._simulation.now + wait_s, lambda turn=self._turn: self._end(turn))  # type: ignore[misc]

    def _end(self, turn: int) -> None:
        if turn == self._turn:
            self._advance()
            *_, steps = heapq.heappop(self._ends)
            self._plan()
            self._simulation.go_on(self._simulation.now, steps)


def _key(name: str, job: Job) -> object:
    return (id(job), name) if JOB in name else name


def landings_of(costs: Costs, scene: Scene, regions: int) -> Sequence[float]:
    """Return when the regions of one job land that is alone, seconds."""
    simulation = Simulation(costs, scene)
    simulation.submit(Job(regions))
    simulation.run()
    return simulation.landings
