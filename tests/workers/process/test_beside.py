"""Work beside the main thread ends with its context, whoever leaves it and why."""

import threading
import time

import pytest

from workers.core.checks import Check
from workers.process.beside import Beside, Stopped

DEADLINE_S = 30.0


def until_stopped(check: Check) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        check()
        time.sleep(0.001)


def test_the_result_and_the_error_come_when_they_are_asked_for() -> None:
    def fails(_check: Check) -> None:
        raise ValueError("made up")

    with Beside() as beside:
        good, bad = beside.begin(lambda _check: threading.get_ident()), beside.begin(fails)
        assert good.result(DEADLINE_S) != threading.get_ident()
        with pytest.raises(ValueError, match="made up"):
            bad.result(DEADLINE_S)


def test_what_nobody_waits_for_ends_before_the_context_does() -> None:
    with Beside() as beside:
        under_way, waiting = beside.begin(until_stopped), beside.begin(until_stopped)
        while not under_way.running():
            time.sleep(0.001)
    assert isinstance(under_way.exception(0), Stopped)
    assert waiting.cancelled()


def test_an_error_in_the_main_thread_ends_it_and_goes_on() -> None:
    begun = []

    def fail() -> None:
        with Beside() as beside:
            begun.append(beside.begin(until_stopped))
            raise KeyError("of the main one")

    with pytest.raises(KeyError, match="of the main one"):
        fail()
    assert begun[0].done()
