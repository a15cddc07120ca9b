"""What a worker process counts as it works: kept here, told to the queue now and then, and there added to the others'.

Whoever does something adds to it where it happens, from any thread. In a process that tells nobody, such as
`ldiffusion segment`, they are a few numbers that nobody reads.
"""

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

TELL_S = 15.0
"""Seconds between two tellings: each count costs the queue a command, and nobody looks more often."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Something that is counted.

    Attributes:
        name: As it is called in the queue.
        about: What it is, with its unit.
        labels: Names of what it is told apart by. Values are few: models, states, codes of errors, names of outputs.
    """

    name: str
    about: str
    labels: tuple[str, ...] = ()


REGIONS = Tally("regions", "Regions (chunks of the labels) that workers were done with.", ("model", "outcome"))
TASKS = Tally("tasks", "Tasks that workers were done with.", ("kind", "outcome"))
TILES = Tally("forward_passes", "Forward passes of whole tiles; a part of a tile counts by its pixels.", ("model",))
PHASE_SECONDS = Tally("phase_seconds", "Seconds spent in a phase of the work; reads go on beside others.", ("phase",))
PHASES = Tally("phases", "How often a phase of the work was gone through.", ("phase",))
MODEL_LOADS = Tally("model_loads", "Models that were loaded.", ("model",))
MODEL_LOAD_SECONDS = Tally("model_load_seconds", "Seconds that loading models took.", ("model",))
BUSY_SECONDS = Tally("worker_busy_seconds", "Seconds in which workers had a task.")
ALIVE_SECONDS = Tally("worker_seconds", "Seconds in which workers were there.")
STARTS = Tally("worker_starts", "Worker processes that were ready for tasks.")
ENDS = Tally("worker_ends", "Workers that ended in the middle of a task, by code of the error or signal.", ("reason",))
JOBS_ENDED = Tally("jobs_ended", "Jobs that ended, by state and, of those that failed, code.", ("state", "code"))
KNOWN: Mapping[str, Tally] = {
    each.name: each
    for each in (
        *(REGIONS, TASKS, TILES, PHASE_SECONDS, PHASES, MODEL_LOADS, MODEL_LOAD_SECONDS),
        *(BUSY_SECONDS, ALIVE_SECONDS, STARTS, ENDS, JOBS_ENDED),
    )
}


def field_of(tally: Tally, labels: Sequence[str]) -> str:
    """Return the name of a count: JSON, so that no label can be taken for two."""
    if len(labels) != len(tally.labels):
        raise ValueError(f"{tally.name}: {len(labels)} labels, and not {len(tally.labels)}")
    return json.dumps([tally.name, *labels])


def parse_field(field: str) -> tuple[Tally, tuple[str, ...]] | None:
    """Return what a count is of, and its labels; None if this version does not know it."""
    try:
        name, *labels = json.loads(field)
        tally = KNOWN.get(name)
    except (ValueError, TypeError):
        return None
    is_known = tally is not None and len(labels) == len(tally.labels) and all(isinstance(each, str) for each in labels)
    return (tally, tuple(labels)) if tally is not None and is_known else None


class Tallies:
    """Sums that wait to be told. For any thread."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._lock = threading.Lock()
        self._told_at = time.monotonic()

    def add(self, tally: Tally, *labels: str, by: float = 1.0) -> None:
        """Add to a count."""
        field = field_of(tally, labels)
        with self._lock:
            self._sums[field] = self._sums.get(field, 0.0) + by

    def due(self) -> bool:
        """Whether it is time to tell."""
        return time.monotonic() - self._told_at >= TELL_S

    def take(self) -> dict[str, float]:
        """Return what has come together since the last time; from now on it is the caller's to tell."""
        with self._lock:
            taken, self._sums = self._sums, {}
            self._told_at = time.monotonic()
        return taken

    def put_back(self, taken: Mapping[str, float]) -> None:
        """Keep what could not be told for the next time."""
        with self._lock:
            for field, value in taken.items():
                self._sums[field] = self._sums.get(field, 0.0) + value


TALLIES = Tallies()
"""Of this process."""


@contextmanager
def timed(phase: str) -> Iterator[None]:
    """Count the seconds of what is done in this context, or of each call of a function that this decorates."""
    began = time.perf_counter()
    try:
        yield
    finally:
        add_phase(phase, time.perf_counter() - began)


def add_phase(phase: str, seconds: float) -> None:
    """Count a phase that took so long."""
    TALLIES.add(PHASE_SECONDS, phase, by=seconds)
    TALLIES.add(PHASES, phase)


class PhaseClock:
    """Counts phases of which only the beginning is told: one ends with the next."""

    def __init__(self) -> None:
        self._at: tuple[str, float] | None = None

    def begin(self, phase: str) -> None:
        """Say what is done from now on."""
        self.end()
        self._at = phase, time.perf_counter()

    def end(self) -> None:
        """Say that it is done."""
        if self._at is not None:
            phase, began = self._at
            add_phase(phase, time.perf_counter() - began)
        self._at = None
