"""What is remembered between two tiles."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from server.viewing import Remembered


def test_what_many_ask_for_at_once_is_made_once() -> None:
    remembered, begun, may_end = Remembered[int](), threading.Event(), threading.Event()
    made: list[int] = []

    def make() -> int:
        begun.set()
        assert may_end.wait(30)
        made.append(len(made))
        return made[-1]

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(remembered.get, "slide", make) for _ in range(4)]
        assert begun.wait(30)
        assert remembered.get("another", lambda: 7) == 7  # nobody waits for what he did not ask for
        may_end.set()
        assert [each.result(30) for each in asked] == [0] * 4
    assert made == [0]


def test_what_could_not_be_made_is_tried_again() -> None:
    remembered = Remembered[int]()

    def fail() -> int:
        raise OSError("the disk")

    with pytest.raises(OSError, match="disk"):
        remembered.get("slide", fail)
    assert remembered.get("slide", lambda: 3) == 3
    remembered.drop("slide")
    assert remembered.known("slide") is None
