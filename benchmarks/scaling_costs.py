"""What was measured of one worker, and whom `benchmarks.scaling_simulation` simulates with it."""

from dataclasses import dataclass
from math import inf
from typing import Literal, NamedTuple

from benchmarks.scaling_turns import TURN_REGIONS

BEAT_S = 5.0
"""Between two signs of life, as `heartbeat_s`; a test compares."""

JOB = "JOB"
"""Stands in a key for the id of a job."""


class Exchange(NamedTuple):
    """One question to Redis and its answer.

    Attributes:
        gap_s: What the worker does before it, seconds.
        ops: Commands.
        watched: Keys that it begins to watch.
        written: Keys that it changes.
        commits: It is refused if a watched key was changed since.
        roster: It looks at all workers.
        effect: What is true after it.
    """

    gap_s: float = 0.0
    ops: int = 1
    watched: frozenset[str] = frozenset()
    written: frozenset[str] = frozenset()
    commits: bool = False
    roster: bool = False
    effect: Literal["", "handed out", "landed"] = ""


Segment = tuple[Exchange, ...]
"""One question, or a transaction, which is begun again as a whole."""


@dataclass(frozen=True)
class Costs:
    """What was measured, seconds.

    Args:
        claim: From the pop of a region to the lease.
        hand_out: Putting the next turn into the queue, by one region of each turn.
        start: From there to the computation.
        land: After it, up to the next pop.
        op_s: Of Redis, for a command.
        roster_s: Of Redis, for each worker in a look at all of them.
        plan_s: Of a plan; `finish_s`: of a finish.
        beat_ops: Commands of a worker's sign of life and of sweeps, every `BEAT_S`.
    """

    claim: tuple[Segment, ...]
    hand_out: Segment
    start: tuple[Segment, ...]
    land: tuple[Segment, ...]
    op_s: float
    roster_s: float = 0.0
    plan_s: float = 0.0
    finish_s: float = 0.0
    beat_ops: float = 0.0

    @property
    def asked(self) -> tuple[tuple[Exchange, float], ...]:
        """All that is asked for one region by one worker alone, and how often in the mean."""
        always = (one for segment in (*self.claim, *self.start, *self.land) for one in segment)
        return (*((one, 1.0) for one in always), *((one, 1 / TURN_REGIONS) for one in self.hand_out))

    def alone_s(self) -> float:
        """Return the seconds of a region beside its computation, of a worker that shares Redis with nobody."""
        each = ((one.gap_s + one.ops * self.op_s + one.roster * self.roster_s, often) for one, often in self.asked)
        return sum(seconds * often for seconds, often in each) + self.op_s  # the pop


@dataclass(frozen=True)
class Scene:
    """What is simulated.

    Args:
        workers: How many.
        chunk_s: What a region's computation takes, seconds.
        burns: It takes a core for so long; else it waits.
        cores: What all workers have together for what they compute.
        net_s: How long a question and its answer are on the way, both together.
        spread: By which part of it a computation may be shorter or longer, each as likely as the other.
    """

    workers: int
    chunk_s: float
    burns: bool = False
    cores: float = inf
    net_s: float = 0.0
    spread: float = 0.0
