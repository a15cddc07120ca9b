"""A slide that is a bomb costs the tile that was asked for: not the gateway, not the next tile, not another tenant."""

import asyncio
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from acting_child import ACTS
from decode_here import DecodeHere
from made_slides import write_slide
from starlette.requests import Request
from stored_slides import stored

from server.access.limits import Rates
from server.access.principals import link_principal
from server.routes.viewers import deepzoom as routes
from server.viewing import tile_pool
from server.viewing.deepzoom import grid_of
from server.viewing.service import Viewing
from server.viewing.tile_marks import COSTLY_MAX, Marks
from server.viewing.tile_pool import Decoded, TilePool
from server.viewing.tile_protocol import Wanted
from workers.core.confinement.files import landlock_version
from workers.core.confinement.lock import LIBC
from workers.core.errors.base import LDiffusionError, SlideUnreadable, TileFailed
from workers.core.errors.intake import TileLate
from workers.core.settings import Settings
from workers.core.slide_schemas import SlideInfo
from workers.core.store import Store

SETTINGS = Settings(tile_cpu_s=2, tile_timeout_s=4, tile_children=2)
ACTING = "tests.fixtures.acting_child"
COSTLY = ("hoard", "crash", "spin", "hang", "babble", "flood")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data")


@pytest.fixture
def slides(store: Store, tmp_path: Path) -> tuple[SlideInfo, SlideInfo]:
    pixels = np.random.default_rng(0).integers(100, 255, (300, 2600, 3)).astype(np.uint8)
    path = write_slide(tmp_path / "s.tif", pixels, compression="zlib")
    return stored(store, path), stored(store, path)


@pytest.fixture
def pool() -> Iterator[TilePool]:
    pool = TilePool(SETTINGS, ACTING)
    yield pool
    pool.close()


@pytest.fixture
def ask(pool: TilePool, store: Store) -> Callable[[SlideInfo, str], Decoded]:
    def ask(info: SlideInfo, act: str) -> Decoded:
        wanted = Wanted(kind="tile", address=(grid_of(info.geometry).top, ACTS.index(act), 0))
        return pool.ask(store.slide_file(info.id), info, wanted)

    return ask


Ask = Callable[[SlideInfo, str], Decoded]


@pytest.mark.process
@pytest.mark.parametrize("act", COSTLY)
def test_a_bomb_costs_its_tile_and_is_remembered(
    ask: Ask, slides: tuple[SlideInfo, SlideInfo], pool: TilePool, act: str
) -> None:
    slide = slides[0]
    before = psutil.Process().memory_info().rss
    with pytest.raises(TileFailed, match=r"crashed|more memory"):
        ask(slide, act)
    assert pool.idle == []  # that child is gone
    assert psutil.Process().memory_info().rss - before < 64 * 2**20
    assert ask(slide, "nothing").body[:2] == b"\xff\xd8"
    assert len(pool.idle) == 1
    pool._nursery.stop()
    pool._nursery._module = "nobody"  # no child could be made, and none is asked
    with pytest.raises(TileFailed, match=r"crashed|more memory"):
        ask(slide, act)


@pytest.mark.process
def test_what_is_late_as_the_machine_is_busy_is_not_held_against_the_slide(
    ask: Ask, slides: tuple[SlideInfo, SlideInfo], pool: TilePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool._settings = SETTINGS.model_copy(update={"tile_timeout_s": 1.0})
    waited = iter([0.0, 0.6] * (COSTLY_MAX + 1))
    monkeypatch.setattr(tile_pool, "queued_s", lambda _pid: next(waited, 0.0))
    for _ in range(COSTLY_MAX + 1):
        with pytest.raises(TileLate):
            ask(slides[0], "hang")
    assert pool.idle == []  # that child is gone
    with pytest.raises(TileFailed, match="crashed"):  # it waited for nobody
        ask(slides[0], "hang")


@pytest.mark.process
def test_a_slide_with_several_bombs_is_refused_and_another_is_not(
    ask: Ask, slides: tuple[SlideInfo, SlideInfo], pool: TilePool
) -> None:
    bad, good = slides
    for act in ("hoard", "crash", "babble"):
        with pytest.raises(TileFailed, match=r"crashed|more memory"):
            ask(bad, act)
    with pytest.raises(TileFailed, match="Too many parts"):
        ask(bad, "nothing")
    assert ask(good, "nothing").body
    pool.drop(Path("slides", bad.id))
    assert ask(bad, "nothing").body


@pytest.mark.process
def test_what_fits_is_not_refused(ask: Ask, slides: tuple[SlideInfo, SlideInfo]) -> None:
    assert ask(slides[0], "be_modest").body == b"%d" % (100 * 2**20)


@pytest.mark.process
def test_a_child_reads_no_other_slide(ask: Ask, slides: tuple[SlideInfo, SlideInfo]) -> None:
    if landlock_version(LIBC) < 1:
        pytest.skip("this kernel has no Landlock")
    assert ask(slides[0], "spy").body in (b"EACCES", b"0")


@pytest.mark.process
def test_a_child_that_dies_while_nobody_asks_costs_nothing(
    ask: Ask, slides: tuple[SlideInfo, SlideInfo], pool: TilePool
) -> None:
    ask(slides[0], "nothing")
    (child,) = pool._idle.values()
    child.line.shutdown(2)  # as if it had ended
    assert ask(slides[0], "nothing").body


@pytest.mark.process
def test_the_process_that_makes_children_is_started_again(
    ask: Ask, slides: tuple[SlideInfo, SlideInfo], pool: TilePool
) -> None:
    ask(slides[0], "nothing")
    process = pool._nursery._process
    assert process is not None
    process.kill()
    process.wait()
    assert ask(slides[1], "nothing").body


def request(*there: str) -> Request:
    """Return a request of somebody, while these tenants are there."""
    rates = Rates(SETTINGS)
    for tenant in there:
        rates.admit(link_principal(tenant), time.monotonic())
    state = {"settings": SETTINGS, "access": SimpleNamespace(rates=rates)}
    return Request({"type": "http", "method": "GET", "headers": [], "state": state})


@pytest.mark.process
def test_bombs_of_one_tenant_hold_up_no_other(store: Store, slides: tuple[SlideInfo, SlideInfo]) -> None:
    viewing = Viewing(store, SETTINGS, TilePool(SETTINGS, ACTING))
    bad, good = slides
    top = grid_of(bad.geometry).top
    viewing.thumbnail(bad, 64)  # children can be made from here on
    ended: list[str] = []

    async def picture(tenant: str, info: SlideInfo, address: tuple[int, int, int]) -> None:
        ready, make = partial(viewing.ready_tile, info, address), partial(viewing.slide_tile, info, address)
        try:
            await routes._picture(request(), "etag", tenant, viewing, ready, make)
        except TileFailed:
            pass
        finally:
            ended.append(tenant)

    async def play() -> None:
        bombs = [asyncio.create_task(picture("a", bad, (top, ACTS.index("hang"), row))) for row in (0, 1)]
        await asyncio.sleep(0.2)
        await picture("b", good, (top, 0, 0))
        await asyncio.gather(*bombs)

    asyncio.run(play())
    viewing.close()
    assert ended == ["b", "a", "a"]


@pytest.mark.parametrize("there", [("a",), ("a", "b")])
def test_quick_tiles_of_one_tenant_leave_time_to_who_is_there(
    store: Store, slides: tuple[SlideInfo, SlideInfo], monkeypatch: pytest.MonkeyPatch, there: tuple[str, ...]
) -> None:
    """A flood of tiles that take no time to decode is slow once somebody else is there, and else as fast as it can."""
    viewing, ended = Viewing(store, SETTINGS, DecodeHere()), list[str]()
    monkeypatch.setattr("server.viewing.service.TURN_S", 3600)
    top = grid_of(slides[0].geometry).top

    async def picture(tenant: str, col: int) -> None:
        address = top, col, 0
        ready, make = partial(viewing.ready_tile, slides[0], address), partial(viewing.slide_tile, slides[0], address)
        others = there if tenant == "a" else ()
        await routes._picture(request(*others), "etag", tenant, viewing, ready, make)
        ended.append(tenant)

    async def play() -> None:
        flood = [asyncio.create_task(picture("a", col)) for col in range(5)]
        await asyncio.wait(flood, return_when="FIRST_COMPLETED")
        for _ in range(20):
            await picture("b", 5)  # for whom there is a place
        if there == ("a",):
            await asyncio.gather(*flood)
        for task in flood:
            task.cancel()

    asyncio.run(play())
    viewing.close()
    assert ended.count("a") == (5 if there == ("a",) else 1)


def test_marks_hold_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("server.viewing.tile_marks.time.monotonic", lambda: now[0])
    marks = Marks(100)
    marks.note("slide", "cheap", SlideUnreadable("no tile", value=1), is_costly=False)
    for number in range(COSTLY_MAX):
        marks.check("slide", "sound")
        marks.note("slide", f"bomb {number}", TileFailed("a bomb"), is_costly=True)
    for name, words in (("cheap", "no tile"), ("bomb 1", "a bomb"), ("sound", "Too many parts")):
        with pytest.raises(LDiffusionError, match=words):
            marks.check("slide", name)
    marks.check("another", "bomb 1")
    now[0] = 101
    for name in ("cheap", "bomb 1", "sound"):
        marks.check("slide", name)


PARENT = """
import sys
from pathlib import Path
from server.viewing.tile_pool import TilePool
from server.viewing.tile_protocol import Wanted
from workers.core.settings import Settings
from workers.core.slide_schemas import SlideInfo
path = Path(sys.argv[1])
info = SlideInfo.model_validate_json((path.parent / "slide.json").read_bytes())
TilePool(Settings(), "tests.fixtures.acting_child").ask(path, info, Wanted(kind="tile", address=(12, 9, 0)))
"""


@pytest.mark.process
def test_children_end_with_a_gateway_that_is_killed(store: Store, slides: tuple[SlideInfo, SlideInfo]) -> None:
    info = slides[0]
    alive = store.slide_dir(info.id) / "alive"
    os.mkfifo(alive)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    command = [sys.executable, "-c", PARENT, str(store.slide_file(info.id))]
    with subprocess.Popen(command, env=environment) as parent:
        file = os.open(alive, os.O_WRONLY)  # opens once the child has
        parent.kill()
    watch = select.poll()
    watch.register(file, 0)
    assert watch.poll(30_000) == [(file, select.POLLERR)]  # nobody reads any more
    os.close(file)


@pytest.mark.process
@pytest.mark.parametrize("name", ["tile_j2k_8000.tif", "tile_png_20000.tif"])
def test_known_bombs_that_got_past_the_probe(store: Store, name: str, cases: Path) -> None:
    info = stored(store, cases / "decoding_bombs" / name)
    grid, viewing = grid_of(info.geometry), Viewing(store, SETTINGS)
    before, bad = psutil.Process().memory_info().rss, 0
    columns, rows = (-(-side // grid.tile_px) for side in grid.size(grid.top))
    for address in ((grid.top, col, row) for row in range(rows) for col in range(columns)):
        try:
            viewing.slide_tile(info, address)
        except (SlideUnreadable, TileFailed):
            bad += 1
    assert bad
    assert psutil.Process().memory_info().rss - before < 64 * 2**20
    viewing.close()
