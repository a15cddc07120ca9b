"""What a worker counts: no count is lost, none is taken for another."""

import json
import threading
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.telemetry.tallies import (
    KNOWN,
    PHASE_SECONDS,
    PHASES,
    REGIONS,
    STARTS,
    TALLIES,
    PhaseClock,
    Tallies,
    Tally,
    field_of,
    parse_field,
    timed,
)


@given(st.sampled_from(sorted(KNOWN)), st.lists(st.text(), min_size=2, max_size=2))
def test_a_field_is_read_as_it_was_written(name: str, words: list[str]) -> None:
    tally, labels = KNOWN[name], words[: len(KNOWN[name].labels)]
    assert parse_field(field_of(tally, labels)) == (tally, tuple(labels))


@given(st.text() | st.from_regex(r'\A\["(regions|phases|other)"(,("a"|1|null|\[\]))*\]\Z'))
def test_what_is_no_field_of_ours_is_passed_over(text: str) -> None:
    parsed = parse_field(text)
    assert parsed is None or json.loads(text) == [parsed[0].name, *parsed[1]]


def test_a_count_has_all_of_its_labels() -> None:
    with pytest.raises(ValueError, match="regions: 1 labels, and not 2"):
        field_of(REGIONS, ("nuclei",))


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 9), st.sampled_from(["add", "told", "lost"]))))
def test_what_is_told_and_what_is_put_back_is_all_that_was_counted(steps: list[tuple[str, int, str]]) -> None:
    tallies, told, counted = Tallies(), Counter[str](), Counter[str]()
    for phase, by, what in steps:
        tallies.add(PHASES, phase, by=by)
        counted[field_of(PHASES, (phase,))] += by
        if what != "add":
            taken = tallies.take()
            if what == "lost":
                tallies.put_back(taken)
            else:
                told.update({field: int(value) for field, value in taken.items()})
    told.update({field: int(value) for field, value in tallies.take().items()})
    assert told == counted
    assert tallies.take() == {}


def test_threads_that_count_at_once_lose_nothing() -> None:
    tallies = Tallies()
    threads = [
        threading.Thread(target=lambda: [tallies.add(STARTS) for _ in range(2000)])  # type: ignore[func-returns-value]
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    taken = Counter[str]()
    while any(thread.is_alive() for thread in threads):
        taken.update({field: int(value) for field, value in tallies.take().items()})
    for thread in threads:
        thread.join()
    taken.update({field: int(value) for field, value in tallies.take().items()})
    assert taken == {field_of(STARTS, ()): 8000}


def counted(tally: Tally, *labels: str) -> float:
    """What this process has counted and not told yet; it stays."""
    taken = TALLIES.take()
    TALLIES.put_back(taken)
    return taken.get(field_of(tally, labels), 0.0)


def test_a_phase_counts_also_when_it_ends_badly() -> None:
    @timed("made up")
    def work(answer: int) -> int:
        return 10 // answer

    before = counted(PHASES, "made up")
    assert work(5) == 2
    with pytest.raises(ZeroDivisionError):
        work(0)
    assert counted(PHASES, "made up") - before == 2
    assert 0 < counted(PHASE_SECONDS, "made up") < 1


def test_a_phase_ends_with_the_next() -> None:
    clock = PhaseClock()
    clock.end()
    for phase in ("one", "two", "one"):
        clock.begin(phase)
    clock.end()
    clock.end()
    assert [counted(PHASES, phase) for phase in ("one", "two")] == [2, 1]
