"""Deep Zoom of slide and overlay: one grid, marks under the same addresses, against arithmetic and OpenSlide's own."""

import io
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openslide
import pytest
from deepzoom_levels import level_of, overlay_tiles, slide_tiles, top_of
from fiducials import ODD, Finished, found_boxes
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from openslide.deepzoom import DeepZoomGenerator
from PIL import Image

from server.viewing import deepzoom
from server.viewing.deepzoom import Grid, grid_of
from server.viewing.kept import REMEMBERED, SingleFlightCache
from server.viewing.label_tiles import nearest
from server.viewing.tile_pool import TilePool
from server.viewing.tile_protocol import Wanted
from workers.core.errors.base import ResultNotFound
from workers.core.settings import Settings
from workers.core.slides.readers.registry import open_slide

NAMESPACE = "{http://schemas.microsoft.com/deepzoom/2008}"
RED = (200, 0, 0)


@pytest.fixture
def client(job: Finished, gateway_settings: Settings, gateway_with: Any) -> Iterator[httpx.Client]:
    settings = gateway_settings.model_copy(update={"data_dir": job.store.root})
    with gateway_with(settings) as url, httpx.Client(base_url=f"{url}/v1/", timeout=60, trust_env=False) as client:
        yield client


def test_slide_and_overlay_have_one_grid(client: httpx.Client, job: Finished) -> None:
    for address, picture in ((f"slides/{job.info.id}/slide.dzi", "jpeg"), (f"jobs/{job.job_id}/overlay.dzi", "png")):
        root = ET.fromstring(client.get(address).text)
        assert root.attrib == {"Format": picture, "Overlap": "0", "TileSize": "256"}
        size = root.find(f"{NAMESPACE}Size")
        assert size is not None
        assert size.attrib == {"Width": str(job.drawn.width), "Height": str(job.drawn.height)}


@pytest.mark.parametrize("below", [0, 1, 2])
def test_the_marks_are_under_the_same_addresses_in_both(client: httpx.Client, job: Finished, below: int) -> None:
    level, step = top_of(job) - below, 2**below
    dark = level_of(client, job, slide_tiles(job), level).mean(axis=-1) < 140
    overlay = level_of(client, job, overlay_tiles(job), level)
    classes = overlay[..., 3] > 0
    assert (overlay[classes] == (*RED, 255)).all()
    assert not overlay[~classes].any()
    slack = max(job.slack, step if below == 2 or job.drawn is ODD else 0)  # sides of marks are multiples of 2
    for present in (dark, classes):
        job.assert_marks(found_boxes(present, (step, step)), slack)
    assert np.mean(dark != classes) < 0.002


def test_the_slide_is_what_openslides_own_generator_makes_of_the_full_plane(
    client: httpx.Client, job: Finished
) -> None:
    top = top_of(job)
    with openslide.OpenSlide(job.store.slide_file(job.info.id)) as slide:
        generator = DeepZoomGenerator(slide, tile_size=256, overlap=0, limit_bounds=False)
        assert generator.level_count == top + 1
        for level, col, row in ((top, 3, 2), (top, 0, 0), (top - 1, 1, 1), (top - 3, 0, 0)):
            theirs = np.asarray(generator.get_tile(level, (col, row)).convert("RGB"), np.int16)
            answer = client.get(f"{slide_tiles(job).base}/{level}/{col}_{row}.jpeg")
            ours = np.asarray(Image.open(io.BytesIO(answer.content)), np.int16)
            assert np.abs(ours - theirs).mean() < 2


def test_the_overlay_is_what_openslides_own_generator_makes_of_the_file(client: httpx.Client, job: Finished) -> None:
    """A working px of these slides is two level-0 px or a little more: the file's finest level is the second here."""
    top = top_of(job)
    ours = level_of(client, job, overlay_tiles(job), top - 1)
    with openslide.OpenSlide(job.product("overlay.ome.tif")) as slide:
        generator = DeepZoomGenerator(slide, tile_size=256, overlap=0, limit_bounds=False)
        columns, rows = generator.level_tiles[-1]
        theirs = np.zeros((*slide.dimensions[::-1], 3), np.uint8)
        for col in range(columns):
            for row in range(rows):
                tile = np.asarray(generator.get_tile(generator.level_count - 1, (col, row)).convert("RGB"))
                theirs[row * 256 : row * 256 + 256, col * 256 : col * 256 + 256] = tile
    is_mark = (theirs == RED).all(axis=-1)
    assert (theirs[~is_mark] == 255).all()
    job.assert_marked(is_mark)
    if job.drawn is not ODD:
        np.testing.assert_array_equal(is_mark, ours[..., 3] > 0)


def test_the_coarsest_level_is_one_pixel(client: httpx.Client, job: Finished) -> None:
    assert level_of(client, job, slide_tiles(job), 0).shape == (1, 1, 3)
    assert level_of(client, job, overlay_tiles(job), 0).shape == (1, 1, 4)


@pytest.mark.parametrize("job", ["bounded"], indirect=True)
def test_tiles_are_kept_for_good_and_by_the_client_alone(client: httpx.Client, job: Finished) -> None:
    top = top_of(job)
    tags = set()
    for address in (
        f"slides/{job.info.id}/slide_files/{top}/0_0.jpeg",
        f"slides/{job.info.id}/slide_files/{top}/1_0.jpeg",
        f"slides/{job.info.id}/slide.dzi",
        f"slides/{job.info.id}/thumbnail.jpeg",
        f"slides/{job.info.id}/thumbnail.jpeg?max_px=64",
        f"jobs/{job.job_id}/overlay_files/{top}/0_0.png",
        f"jobs/{job.job_id}/overlay.dzi",
    ):
        answer = client.get(address)
        assert answer.headers["cache-control"] == "private, max-age=3600"
        tags.add(answer.headers["etag"])
        again = client.get(address, headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert len(tags) == 7


def test_a_thumbnail_shows_the_whole_slide(client: httpx.Client, job: Finished) -> None:
    answer = client.get(f"slides/{job.info.id}/thumbnail.jpeg", params={"max_px": 1000})
    picture = np.asarray(Image.open(io.BytesIO(answer.content)).convert("L"))
    height, width = picture.shape
    assert width == 1000
    px = job.drawn.width / width, job.drawn.height / height
    assert px[0] == pytest.approx(px[1], rel=1e-3)
    job.assert_marks(found_boxes(picture < 140, px), 1.5 * max(px))


@pytest.mark.parametrize("job", ["bounded"], indirect=True)
@pytest.mark.parametrize("part", ["13/0_0", "12/9_0", "12/0_6", "0/1_0"])
def test_tiles_that_are_none_are_not_found(client: httpx.Client, job: Finished, part: str) -> None:
    for base, picture in ((f"slides/{job.info.id}/slide_files", "jpeg"), (f"jobs/{job.job_id}/overlay_files", "png")):
        answer = client.get(f"{base}/{part}.{picture}")
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "result_not_found"


def test_a_slide_of_one_level_is_read_in_bounded_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from made_slides import write_slide

    pixels = np.random.default_rng(3).integers(0, 256, (1200, 1100, 3), dtype=np.uint8)
    monkeypatch.setattr(deepzoom, "READ_PX", 64)
    grid = Grid(1100, 1200)
    with open_slide(write_slide(tmp_path / "s.tif", pixels)) as slide:
        sizes: list[int] = []
        read = slide.read_level

        def noted(level: int, lv_x: int, lv_y: int, width: int, height: int) -> NDArray[np.uint8]:
            sizes.append(max(width, height))
            return read(level, lv_x, lv_y, width, height)

        monkeypatch.setattr(slide, "read_level", noted)
        tile = deepzoom.slide_tile(slide, grid, (grid.top - 2, 0, 1))
    assert max(sizes) <= 64
    expected = pixels[1024:1200, :1024].reshape(44, 4, 256, 4, 3).mean(axis=(1, 3))
    assert tile.shape == expected.shape
    assert np.abs(tile - expected).max() <= 1


@given(
    pixel=st.integers(0, 5000), exponent=st.integers(0, 8), step=st.sampled_from([1, 2, 4, 8]),
    scale=st.fractions(Fraction(1, 4), 8, max_denominator=997), plane=st.integers(1, 9000),
)  # fmt: skip
def test_the_nearest_pixel_is_the_nearest(pixel: int, exponent: int, step: int, scale: Fraction, plane: int) -> None:
    length = -(-plane // step)
    [found] = nearest(range(pixel, pixel + 1), 2**exponent, scale, step, (plane, length))
    center = (pixel + Fraction(1, 2)) * 2**exponent / scale
    if center >= plane:
        assert found == -1
    else:
        distances = [abs(index * step + Fraction(1, 2) - center) for index in (found - 1, found, found + 1)]
        assert 0 <= found < length
        assert distances[1] <= distances[0]
        assert distances[1] <= distances[2] or found == length - 1


@given(width=st.integers(1, 10**6), height=st.integers(1, 10**6))
def test_levels_halve_until_one_pixel(width: int, height: int) -> None:
    grid = Grid(width, height)
    assert grid.size(grid.top) == (width, height)
    assert grid.size(0) == (1, 1)
    assert grid.top == 0 or max(grid.size(1)) == 2
    with pytest.raises(ResultNotFound):
        grid.tile(grid.top, -(-width // 256), 0)


@pytest.mark.process
def test_open_slides_are_bounded_and_never_shared(bounded: Finished, plain: Finished) -> None:
    path, pool = bounded.store.slide_file(bounded.info.id), TilePool(Settings(slide_handles=1))
    wanted = Wanted(kind="tile", address=(grid_of(bounded.info.geometry).top, 0, 0))
    with ThreadPoolExecutor(2) as threads:
        tiles = list(threads.map(lambda _: pool.ask(path, bounded.info, wanted).body, range(4)))
    assert len(set(tiles)) == 1
    assert pool.idle == [path]
    other = plain.store.slide_file(plain.info.id)
    pool.ask(other, plain.info, Wanted(kind="overview"))
    assert pool.idle == [other]
    pool.close()
    assert pool.idle == []


def test_only_the_last_things_are_remembered() -> None:
    kept = SingleFlightCache[int]()
    for number in range(REMEMBERED + 3):
        kept.get(str(number), lambda number=number: number)  # type: ignore[misc]
    assert kept.get("5", lambda: -1) == 5
    assert kept.get("0", lambda: -1) == -1
