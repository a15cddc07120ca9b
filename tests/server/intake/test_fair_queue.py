"""Places given out in turns: tenant after tenant, in order within each, and none is ever lost."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from server.intake.fair_queue import FairQueue


async def settled() -> None:
    """Let every task go as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


class Scene:
    """Work that notes when it gets its place and keeps it until told."""

    def __init__(self, places: int, share: int | None = None, least_s: float = 0.0) -> None:
        self.turns = FairQueue(places, share)
        self.least_s = least_s
        self.began: list[str] = []
        self.under_way: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def ask(self, *names: str) -> None:
        """Have work wait for a place; the first letter of a name is its tenant."""
        for name in names:
            self.tasks[name] = asyncio.create_task(self._work(name))
            await settled()

    async def _work(self, name: str) -> None:
        async with self.turns.turn(name[0], self.least_s):
            self.began.append(name)
            self.under_way[name] = asyncio.Event()
            await self.under_way[name].wait()

    async def end_all(self) -> None:
        """End what is under way, one after the other, until nothing waits."""
        while left := [name for name in self.began if not self.under_way[name].is_set()]:
            self.under_way[left[0]].set()
            await settled()


def test_many_of_one_tenant_hold_up_no_other() -> None:
    async def play() -> None:
        scene = Scene(1)
        await scene.ask("a1", "a2", "a3", "a4", "b1", "b2", "c1")
        await scene.end_all()
        assert scene.began == ["a1", "a2", "b1", "c1", "a3", "b2", "a4"]

    asyncio.run(play())


def test_what_comes_later_of_another_tenant_waits_for_one_place_only() -> None:
    async def play() -> None:
        scene = Scene(2)
        await scene.ask("a1", "a2", "a3", "a4", "a5")
        assert scene.began == ["a1", "a2"]
        scene.under_way["a2"].set()
        await settled()
        await scene.ask("b1")
        scene.under_way["a1"].set()
        scene.under_way["a3"].set()
        await settled()
        assert scene.began == ["a1", "a2", "a3", "a4", "b1"]
        await scene.end_all()

    asyncio.run(play())


def test_a_tenant_has_no_more_than_its_share_though_nobody_waits() -> None:
    async def play() -> None:
        scene = Scene(3, share=2)
        await scene.ask("a1", "a2", "a3", "a4")
        assert scene.began == ["a1", "a2"]
        await scene.ask("b1", "c1")
        assert scene.began == ["a1", "a2", "b1"]  # at once
        scene.under_way["b1"].set()
        await settled()
        assert scene.began == ["a1", "a2", "b1", "c1"]  # whose turn came after that of a3, which may not yet
        await scene.end_all()
        assert sorted(scene.began) == ["a1", "a2", "a3", "a4", "b1", "c1"]

    asyncio.run(play())


def test_a_short_turn_counts_for_longer_in_the_share_of_its_tenant_and_for_nobody_else() -> None:
    async def play() -> None:
        scene = Scene(2, share=1, least_s=3600)
        await scene.ask("a1", "a2")
        await scene.end_all()
        assert scene.began == ["a1"]
        await scene.ask("b1", "c1")
        assert scene.began == ["a1", "b1", "c1"]  # both places are free
        await scene.end_all()
        assert scene.began == ["a1", "b1", "c1"]
        scene.tasks["a2"].cancel()

    asyncio.run(play())


def test_who_waits_for_a_turn_that_counts_for_longer_comes_by_himself() -> None:
    async def play() -> None:
        scene = Scene(2, share=1, least_s=0.01)
        await scene.ask("a1", "a2", "a3")
        while len(scene.under_way) < 3:
            for ended in scene.under_way.values():
                ended.set()
            await asyncio.sleep(0.001)
        await scene.end_all()
        assert scene.began == ["a1", "a2", "a3"]

    asyncio.run(play())


def test_a_place_that_was_given_to_work_that_is_canceled_goes_on_to_the_next() -> None:
    async def play() -> None:
        scene = Scene(1)
        await scene.ask("a1", "a2", "b1", "c1")
        scene.tasks["a2"].cancel()  # while it waits
        await settled()
        scene.under_way["a1"].set()
        await asyncio.sleep(0)  # the place is given to b1, which does not know it yet
        scene.tasks["b1"].cancel()
        await settled()
        assert scene.began == ["a1", "c1"]
        await scene.end_all()
        await scene.ask("a3")
        assert scene.began[-1] == "a3"
        await scene.end_all()

    asyncio.run(play())


@given(
    places=st.integers(1, 3),
    share=st.integers(1, 3),
    acts=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["ask", "end", "cancel"])), max_size=30),
)
def test_never_more_at_once_than_there_are_places_and_none_is_lost(
    places: int, share: int, acts: list[tuple[str, str]]
) -> None:
    async def play() -> None:
        scene = Scene(places, share)
        for number, (tenant, act) in enumerate(acts):
            busy = [name for name in scene.began if not scene.tasks[name].done()]
            if act == "ask":
                await scene.ask(f"{tenant}{number}")
            elif act == "end" and busy:
                scene.under_way[busy[0]].set()
            elif act == "cancel" and scene.tasks:
                list(scene.tasks.values())[number % len(scene.tasks)].cancel()
            if number % 2:
                await settled()
            running = [name for name in scene.began if not scene.tasks[name].done()]
            assert len(running) <= places
            assert all(len([name for name in running if name[0] == tenant]) <= share for tenant in "abc")
        await settled()
        await scene.end_all()
        assert all(task.done() for task in scene.tasks.values())
        await scene.ask(*(f"{tenant}z" for tenant in "uvw"[:places]))
        assert len([name for name in scene.began if name[1] == "z"]) == places
        await scene.end_all()

    asyncio.run(play())
