"""The short way for tiles: the very answers of the route, and none that the route would not give."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from gateway_fixtures import running_gateway
from jpeg_slides import info_of, smooth_pixels, write_jpeg_slide

from server.access.keys import Keys
from server.viewing import fast_path
from server.viewing.deepzoom import grid_of
from server.viewing.jpeg_tiles import StoredTiles
from server.viewing.service import Viewing
from workers.core.settings import Settings

TILE = 240
ADDRESS = (11, 1, 2)
"""Of the finest level of 1300 x 1100 px."""


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An Aperio-like slide: RGB, tables apart, tiles of 240 px."""
    folder = tmp_path_factory.mktemp("lane")
    return write_jpeg_slide(folder / "s.tif", smooth_pixels(1100, 1300), "tables-rgb", tile=TILE)


@pytest.fixture(scope="module")
def clients(
    slide: Path, tmp_path_factory: pytest.TempPathFactory, gateway_queue: str
) -> Iterator[tuple[httpx.Client, httpx.Client, Settings]]:
    """Two tenants of one gateway."""
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("lane"), redis_url=gateway_queue, disk_reserve_bytes=0, slide_handles=1
    )
    keys = [Keys(settings.data_dir).create("made", tenant, ("read", "submit"))[1] for tenant in ("lab-a", "lab-b")]
    with running_gateway(settings) as url:
        owner, other = (
            httpx.Client(base_url=url, headers={"x-api-key": key}, timeout=60, trust_env=False) for key in keys
        )
        with owner, other:
            yield owner, other, settings


def uploaded(client: httpx.Client, slide: Path) -> str:
    answer = client.put("/v1/slides", params={"filename": "s.tif"}, content=slide.read_bytes())
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def tile(slide_id: str, address: tuple[int, int, int] = ADDRESS) -> str:
    level, col, row = address
    return f"/v1/slides/{slide_id}/slide_files/{level}/{col}_{row}.jpeg"


@pytest.fixture
def only_lane(slide: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A way to have the routes' own tiles fail, so that what is given is the lane's."""
    info = info_of(slide)
    stored = StoredTiles(slide, info, grid_of(info.geometry).tile_px)
    if stored.tile_at_hand(1, 0, 0) is None:
        pytest.skip("this file system cannot say what the kernel holds: every tile goes by the routes")
    return monkeypatch


def forbidden(*_: object) -> bytes:
    raise AssertionError("this tile went by the route")


def test_both_ways_give_the_same(
    clients: tuple[httpx.Client, httpx.Client, Settings], slide: Path, only_lane: pytest.MonkeyPatch
) -> None:
    owner, _, _ = clients
    slide_id = uploaded(owner, slide)
    by_route = owner.get(tile(slide_id))  # nothing is held of the slide yet
    assert by_route.status_code == 200
    only_lane.setattr(Viewing, "slide_tile", forbidden)
    by_lane = owner.get(tile(slide_id))
    assert by_lane.content == by_route.content
    of_each = {"date": "", "x-request-id": "", "ratelimit": ""}
    assert {**by_lane.headers, **of_each} == {**by_route.headers, **of_each}
    assert by_lane.headers["cache-control"] == "private, max-age=3600"
    again = owner.get(tile(slide_id), headers={"if-none-match": by_lane.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert owner.get(tile(slide_id, (11, 2, 2))).headers["etag"] != by_lane.headers["etag"]


def test_a_slide_has_one_grid_and_it_is_that_of_its_own_tiles(
    clients: tuple[httpx.Client, httpx.Client, Settings], slide: Path
) -> None:
    owner, _, _ = clients
    assert f'TileSize="{TILE}"' in owner.get(f"/v1/slides/{uploaded(owner, slide)}/slide.dzi").text


def test_what_was_just_given_to_its_owner_is_not_there_for_others(
    clients: tuple[httpx.Client, httpx.Client, Settings], slide: Path
) -> None:
    owner, other, _ = clients
    slide_id = uploaded(owner, slide)
    for _ in range(2):  # by both ways
        assert owner.get(tile(slide_id)).status_code == 200
        foreign, absent = other.get(tile(slide_id)), other.get(tile("f" * 32))
        assert foreign.status_code == absent.status_code == 404
        assert foreign.json()["error"]["code"] == absent.json()["error"]["code"] == "slide_not_found"
        assert httpx.get(f"{owner.base_url}{tile(slide_id)}", trust_env=False).status_code == 401


def test_tiles_of_a_deleted_slide_are_gone_at_once(
    clients: tuple[httpx.Client, httpx.Client, Settings], slide: Path
) -> None:
    owner, _, _ = clients
    slide_id = uploaded(owner, slide)
    assert [owner.get(tile(slide_id)).status_code for _ in range(2)] == [200, 200]
    assert owner.delete(f"/v1/slides/{slide_id}").status_code == 204
    assert owner.get(tile(slide_id)).status_code == 404


def test_tiles_of_a_slide_that_another_process_deleted_are_gone_after_a_moment(
    clients: tuple[httpx.Client, httpx.Client, Settings], slide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, _, settings = clients
    slide_id = uploaded(owner, slide)
    assert [owner.get(tile(slide_id)).status_code for _ in range(2)] == [200, 200]
    (settings.data_dir / "slides" / slide_id).rename(settings.data_dir / "elsewhere")
    monkeypatch.setattr(fast_path, "SEEN_S", 0.0)  # the moment is over
    assert owner.get(tile(slide_id)).status_code == 404


@pytest.mark.parametrize("address", [(12, 0, 0), (11, 5, 0), (11, 0, 4), (10**8, 0, 0)])
def test_tiles_that_are_none_are_not_found_and_edges_are_cut(
    clients: tuple[httpx.Client, httpx.Client, Settings], slide: Path, address: tuple[int, int, int]
) -> None:
    owner, _, _ = clients
    slide_id = uploaded(owner, slide)
    assert owner.get(tile(slide_id)).status_code == 200
    expected = 200 if address[0] == 11 else 404
    answer = owner.get(tile(slide_id, address))
    assert answer.status_code == expected
    if expected == 200:
        import io

        from PIL import Image

        with Image.open(io.BytesIO(answer.content)) as image:
            assert min(image.size) < TILE
