"""Parts of what several share: never more out than there are, in the order of asking, and none is ever lost."""

import asyncio
import threading
from pathlib import Path

import pytest
from catalogue_fixtures import quotas_of
from hypothesis import given
from hypothesis import strategies as st

from server.intake.admission import PROBES_AT_ONCE, Admission
from server.intake.parts import Parts
from workers.core.errors.base import SlideUnreadable
from workers.core.queue.jobs import Jobs
from workers.core.settings import Settings


@given(st.integers(1, 4), st.lists(st.tuples(st.integers(1, 4), st.booleans()), max_size=12))
def test_never_more_out_than_there_are_and_nobody_is_overtaken(count: int, asked: list[tuple[int, bool]]) -> None:
    async def play() -> None:
        parts, began, out, most = Parts(count), list[int](), 0, 0

        async def work(number: int, wanted: int) -> None:
            nonlocal out, most
            async with parts.take(wanted):
                began.append(number)
                out += wanted
                most = max(most, out)
                try:
                    for _ in range(number % 3):
                        await asyncio.sleep(0)
                finally:
                    out -= wanted

        tasks = [asyncio.create_task(work(number, min(wanted, count))) for number, (wanted, _) in enumerate(asked)]
        await asyncio.sleep(0)
        for task, (_, is_canceled) in zip(tasks, asked, strict=True):
            if is_canceled:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert most <= count
        assert began == sorted(began)
        assert {number for number, (_, is_canceled) in enumerate(asked) if not is_canceled} <= set(began)
        await asyncio.wait_for(work(len(asked), count), 30)  # all of them are back

    asyncio.run(play())


def test_files_that_are_probed_side_by_side_share_the_memory_and_a_large_one_gets_all_of_it(
    jobs: Jobs, queue_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = queue_settings.probe_memory_bytes
    lock, out, most, tries = threading.Lock(), 0, 0, list[str]()

    def probe(file: Path, _settings: Settings, memory_bytes: int | None = None) -> str:
        nonlocal out, most
        given = whole if memory_bytes is None else memory_bytes
        with lock:
            out, most = out + given, max(most, out + given)
            tries.append(file.name)
        threading.Event().wait(0.01)
        with lock:
            out -= given
        if file.name == "damaged":
            raise SlideUnreadable("It is damaged.")
        if file.name == "hungry" or (file.name == "large" and given < whole):
            raise SlideUnreadable("It takes more memory.") from MemoryError()
        return file.name

    monkeypatch.setattr("server.intake.admission.probe", probe)
    admission = Admission(jobs.store, queue_settings, quotas_of(jobs))
    names = ["small", "large", "hungry", "damaged", "small", "large"] * PROBES_AT_ONCE

    async def play() -> list[object]:
        return await asyncio.gather(*(admission._probe(Path(name)) for name in names), return_exceptions=True)

    found = asyncio.run(play())
    for name, each in zip(names, found, strict=True):
        assert isinstance(each, SlideUnreadable) if name in ("damaged", "hungry") else each == name
    assert most == whole
    counted = {name: tries.count(name) // names.count(name) for name in names}
    assert counted == {"small": 1, "large": 2, "hungry": 2, "damaged": 1}
