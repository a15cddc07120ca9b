"""How many clients may follow jobs: as many as is set, also of those that come at once, and no tenant has all."""

import asyncio
import gc
from types import SimpleNamespace
from typing import Any, cast

import pytest

from server.web.sse import Audience, Listeners
from workers.core.errors.access import QuotaExceeded
from workers.core.errors.base import JobNotFound
from workers.core.errors.jobs import TooManyListeners
from workers.core.queue.jobs import Jobs
from workers.core.schemas import JobView
from workers.core.settings import Settings


async def let_in() -> bool:
    return True


def audience(tenant: str) -> Audience:
    return Audience(tenant, lambda view: view, let_in)


def listeners(most: int, share: int) -> Listeners:
    settings = Settings(event_listeners_max=most, event_listeners_per_tenant=share)
    return Listeners(cast("Jobs", SimpleNamespace(settings=settings)), "redis://127.0.0.1:1")


@pytest.fixture
def standing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def stands(self: Listeners, job_id: str) -> tuple[JobView, str | None]:
        await asyncio.sleep(0)
        if job_id == "none":
            raise JobNotFound("No job has this id.")
        return cast("JobView", SimpleNamespace(state="running", id=job_id)), None

    monkeypatch.setattr(Listeners, "_standing", stands)


@pytest.mark.usefixtures("standing")
def test_of_many_that_come_at_once_as_many_are_let_in_as_is_set() -> None:
    async def crowd() -> list[Any]:
        hall = listeners(5, 5)
        return await asyncio.gather(*(hall.begin("job", None, audience("a")) for _ in range(9)), return_exceptions=True)

    answers = asyncio.run(crowd())
    assert sum(isinstance(answer, TooManyListeners) for answer in answers) == 4
    assert not [answer for answer in answers if answer is None]


@pytest.mark.usefixtures("standing")
def test_no_tenant_has_all_of_them() -> None:
    async def crowd() -> None:
        hall = listeners(3, 2)
        held = [await hall.begin("job", None, audience("a")) for _ in range(2)]
        with pytest.raises(QuotaExceeded, match="as it may"):
            await hall.begin("job", None, audience("a"))
        held.append(await hall.begin("job", None, audience("b")))
        with pytest.raises(TooManyListeners):
            await hall.begin("job", None, audience("c"))

    asyncio.run(crowd())


@pytest.mark.usefixtures("standing")
def test_who_goes_before_the_first_piece_or_asks_for_nothing_leaves_a_seat() -> None:
    async def crowd() -> None:
        hall = listeners(1, 1)
        for _ in range(3):
            assert await hall.begin("job", None, audience("a")) is not None
            gc.collect()
            with pytest.raises(JobNotFound):
                await hall.begin("none", None, audience("a"))

    asyncio.run(crowd())
