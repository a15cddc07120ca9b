"""Pictures for viewers: what is remembered between two tiles, and what a damaged slide or one of one level shows."""

import asyncio
import io
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from decode_here import DecodeHere
from hypothesis import given
from hypothesis import strategies as st
from made_slides import write_slide
from numpy.typing import NDArray
from PIL import Image
from spoiled_tiles import spoil_tile
from stored_slides import stored

from server.viewing import deepzoom
from server.viewing.deepzoom import grid_of
from server.viewing.kept import SingleFlightCache
from server.viewing.service import Viewing, share_of
from workers.core.errors.base import SlideTooLarge, SlideUnreadable
from workers.core.settings import Settings
from workers.core.store import Store


def decoded(picture: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))


@pytest.mark.process
@pytest.mark.parametrize("compression", ["zlib", "jpeg"])
def test_a_damaged_tile_costs_that_tile_alone(tmp_path: Path, stained: NDArray[np.uint8], compression: str) -> None:
    store = Store(tmp_path / "data")
    path = write_slide(tmp_path / "s.tif", stained, compression=compression)
    viewing = Viewing(store, Settings())
    info = stored(store, spoil_tile(path, 0, 8))  # column 2, row 1 of 6
    grid = grid_of(info.geometry)
    for _ in range(2):
        for col, row in ((2, 1), (1, 1), (2, 2), (5, 3)):
            if (col, row) == (2, 1):
                with pytest.raises(SlideUnreadable, match="cannot be decoded"):
                    viewing.slide_tile(info, (grid.top, col, row))
                continue
            tile = decoded(viewing.slide_tile(info, (grid.top, col, row))).astype(int)
            wanted = stained[row * 256 : row * 256 + 256, col * 256 : col * 256 + 256]
            assert np.abs(tile - wanted).mean() < 8
    overview = decoded(viewing.thumbnail(info, 650)).astype(int)
    halved = stained.reshape(450, 2, 650, 2, 3).mean(axis=(1, 3))
    lost = np.zeros((450, 650), np.bool_)
    lost[128:256, 256:384] = True
    assert (overview[136:248, 264:376] > 250).all()
    assert np.abs(overview - halved)[~lost].mean() < 8
    small = decoded(viewing.slide_tile(info, (grid.top - 2, 0, 0)))
    assert small.std() > 20
    viewing.close()


def test_a_slide_without_a_small_level_shows_what_is_near(
    tmp_path: Path, stained: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "data")
    one, many = (
        stored(store, write_slide(tmp_path / f"{levels}.tif", stained, levels=levels, compression="zlib"))
        for levels in (1, 2)
    )
    viewing = Viewing(store, Settings(), DecodeHere())
    monkeypatch.setattr(deepzoom, "MAX_READ_PX", stained.shape[0] * stained.shape[1] - 1)
    with pytest.raises(SlideTooLarge, match="no level that is small enough"):
        viewing.thumbnail(one, 512)
    grid = grid_of(one.geometry)
    monkeypatch.setattr(deepzoom, "OVERVIEW_PX", 64)  # so that all other tiles are read from the slide
    with pytest.raises(SlideTooLarge):
        viewing.slide_tile(one, (grid.top - 3, 0, 0))
    assert viewing.slide_tile(one, (grid.top - 1, 0, 0))
    assert viewing.slide_tile(many, (grid.top - 3, 0, 0))
    viewing.close()


@given(st.integers(2, 64), st.integers(1, 64))
def test_no_tenant_has_all_children_nor_more_than_can_work_at_once(children: int, processors: int) -> None:
    share = share_of(children, processors)
    assert 1 <= share < children
    assert share <= processors
    assert share in (children - 1, processors)  # and no fewer than that leaves


def test_on_one_processor_a_tenant_decodes_one_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.viewing.service.processors", lambda: 1)
    viewing, began = Viewing(Store(tmp_path / "data"), Settings(tile_children=4), DecodeHere()), list[str]()

    async def decode(tenant: str) -> None:
        async with viewing.turn(tenant, is_alone=True):
            began.append(tenant)
            await asyncio.Event().wait()

    async def play() -> None:
        tasks = [asyncio.create_task(decode(tenant)) for tenant in "aaabc"]
        for _ in range(20):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()

    asyncio.run(play())
    assert began == ["a", "b", "c"]


def test_what_many_ask_for_at_once_is_made_once() -> None:
    remembered, begun, may_end = SingleFlightCache[int](), threading.Event(), threading.Event()
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
    remembered = SingleFlightCache[int]()

    def fail() -> int:
        raise OSError("the disk")

    with pytest.raises(OSError, match="disk"):
        remembered.get("slide", fail)
    assert remembered.get("slide", lambda: 3) == 3
    remembered.drop("slide")
    assert remembered.known("slide") is None
