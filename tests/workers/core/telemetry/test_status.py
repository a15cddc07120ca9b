"""How a worker says it is: the busy share against a literal sum over small steps of a clock that the test turns."""

from hypothesis import given
from hypothesis import strategies as st

from workers.core.telemetry.status import SHARE_S, WorkerStatus
from workers.core.telemetry.tallies import ALIVE_SECONDS, BUSY_SECONDS, TALLIES, field_of

BEAT_S = 5


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.booleans(), min_size=1, max_size=120))
def test_the_busy_share_is_that_of_the_last_minute(seconds: list[bool]) -> None:
    """`seconds`: for each second whether the worker had a task in it."""
    clock = Clock()
    status = WorkerStatus("cpu", lambda: 7, clock)
    TALLIES.take()
    for number, is_busy in enumerate(seconds, 1):
        if is_busy:
            with status.busy():
                clock.now += 0.5
                if number % BEAT_S == 0:
                    status.view(1)  # a beat in the middle of a task
                clock.now += 0.5
        else:
            clock.now += 1
        if number % BEAT_S == 0:
            last = seconds[max(0, number - int(SHARE_S)) : number]
            assert abs(status.view(9).busy_share - sum(last) / len(last)) < 0.02
    status.count_time()
    taken = TALLIES.take()
    assert taken == {field_of(ALIVE_SECONDS, ()): len(seconds), field_of(BUSY_SECONDS, ()): sum(seconds)}


def test_a_task_that_is_not_done_counts_as_far_as_it_is() -> None:
    clock = Clock()
    status = WorkerStatus("auto", lambda: 7, clock)
    TALLIES.take()
    with status.busy():
        clock.now += 40
        status.count_time()
        assert status.view(9).busy_share == 1
        assert TALLIES.take()[field_of(BUSY_SECONDS, ())] == 40
        clock.now += 2
    status.count_time()
    assert TALLIES.take()[field_of(BUSY_SECONDS, ())] == 2


def test_it_says_what_it_holds() -> None:
    status = WorkerStatus("auto", lambda: 7)
    assert (status.view(9).model, status.view(9).device) == (None, "auto")
    status.holds("nuclei", "cuda:0")
    view = status.view(9)
    assert (view.model, view.device, view.memory_bytes, view.memory_max_bytes) == ("nuclei", "cuda:0", 7, 9)
