"""A look at what may hang: bounded, kept for a moment, and nothing to the event loop."""

import asyncio
import threading
import time

import pytest

from server.telemetry import looks
from server.telemetry.looks import Look


class Asked:
    def __init__(self) -> None:
        self.times = 0
        self.now = 0
        self.most = 0
        self.may_go = threading.Event()
        self._lock = threading.Lock()

    def __call__(self) -> int:
        with self._lock:
            self.times += 1
            self.now += 1
            self.most = max(self.most, self.now)
            number = self.times
        self.may_go.wait(30)
        with self._lock:
            self.now -= 1
        return number


def test_what_hangs_is_waited_for_a_while_and_asked_by_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "LOOK_S", 0.2)
    asked, ticks = Asked(), 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    async def scrape() -> list[int | None]:
        look = Look(asked, OSError)
        ticking = asyncio.create_task(tick())
        found = [await look.get(), *await asyncio.gather(look.get(), look.get())]
        asked.may_go.set()
        found.append(await look.get())  # waits for the one that hung
        ticking.cancel()
        return found

    began = time.monotonic()
    assert asyncio.run(scrape()) == [None, None, None, 1]
    assert time.monotonic() - began < 10
    assert asked.most == 1
    assert ticks > 10


def test_an_answer_is_good_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked()
    asked.may_go.set()
    look = Look(asked, OSError)

    async def many() -> list[int | None]:
        return await asyncio.gather(*(look.get() for _ in range(20)))

    assert asyncio.run(many()) == [1] * 20
    monkeypatch.setattr(looks, "KEPT_S", 0)
    monkeypatch.setattr(looks, "KEPT_TIMES", 0)
    assert asyncio.run(Look(asked, OSError).get()) == 2


def test_a_look_that_is_dear_is_good_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "KEPT_S", 0)
    asked = Asked()
    threading.Timer(0.3, asked.may_go.set).start()
    look = Look(asked, OSError)
    assert asyncio.run(look.get()) == 1
    time.sleep(0.2)  # far less than fifty times what it took
    assert asyncio.run(look.get()) == 1


def test_what_is_away_is_none_and_any_other_fault_is_ours() -> None:
    def broken(kind: type[Exception]) -> int:
        raise kind

    assert asyncio.run(Look(lambda: broken(OSError), OSError).get()) is None
    with pytest.raises(KeyError):
        asyncio.run(Look(lambda: broken(KeyError), OSError).get())
