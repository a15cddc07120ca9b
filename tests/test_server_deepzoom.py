"""Deep Zoom of slide and overlay: one grid, the marks under the same addresses, against plain arithmetic."""

import io
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fiducials import HEIGHT, MARKS, WIDTH, Finished, found_boxes, marked_pixels
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from openslide.deepzoom import DeepZoomGenerator
from PIL import Image

from server import deepzoom
from server.deepzoom import Grid
from server.label_tiles import nearest
from server.viewing import REMEMBERED, Remembered, SlidePool
from workers.core.errors import ResultNotFound
from workers.core.settings import Settings
from workers.core.slides import open_slide

TOP = 12
NAMESPACE = "{http://schemas.microsoft.com/deepzoom/2008}"


@pytest.fixture
def job(bounded: Finished) -> Finished:
    """The job whose slide has bounds: whoever crops to them shows it."""
    return bounded


@pytest.fixture
def client(job: Finished, gateway_settings: Settings, gateway_with: Any) -> Iterator[httpx.Client]:
    settings = gateway_settings.model_copy(update={"data_dir": job.store.root})
    with gateway_with(settings) as url, httpx.Client(base_url=f"{url}/v1/", timeout=60, trust_env=False) as client:
        yield client


def slide_level(client: httpx.Client, job: Finished, level: int) -> NDArray[np.uint8]:
    return whole_level(client, f"slides/{job.info.id}/slide_files", level, "jpeg", "RGB")


def overlay_level(client: httpx.Client, job: Finished, level: int) -> NDArray[np.uint8]:
    return whole_level(client, f"jobs/{job.job_id}/overlay_files", level, "png", "RGBA")


def whole_level(client: httpx.Client, base: str, level: int, picture: str, mode: str) -> NDArray[np.uint8]:
    """Put the tiles of a level together by their addresses alone."""
    width, height = (-(-side // 2 ** (TOP - level)) for side in (WIDTH, HEIGHT))
    out = np.zeros((height, width, len(mode)), np.uint8)
    for row in range(-(-height // 256)):
        for col in range(-(-width // 256)):
            answer = client.get(f"{base}/{level}/{col}_{row}.{picture}")
            assert answer.status_code == 200, answer.text
            tile = np.asarray(Image.open(io.BytesIO(answer.content)).convert(mode))
            assert tile.shape[:2] == (min(256, height - row * 256), min(256, width - col * 256))
            out[row * 256 : row * 256 + 256, col * 256 : col * 256 + 256] = tile
    return out


def test_slide_and_overlay_have_one_grid(client: httpx.Client, job: Finished) -> None:
    for address, picture in ((f"slides/{job.info.id}/slide.dzi", "jpeg"), (f"jobs/{job.job_id}/overlay.dzi", "png")):
        root = ET.fromstring(client.get(address).text)
        assert root.attrib == {"Format": picture, "Overlap": "0", "TileSize": "256"}
        size = root.find(f"{NAMESPACE}Size")
        assert size is not None
        assert size.attrib == {"Width": str(WIDTH), "Height": str(HEIGHT)}


@pytest.mark.parametrize("level", [TOP, TOP - 1, TOP - 2])
def test_the_marks_are_under_the_same_addresses_in_both(client: httpx.Client, job: Finished, level: int) -> None:
    step = 2 ** (TOP - level)
    dark = slide_level(client, job, level).mean(axis=-1) < 140
    overlay = overlay_level(client, job, level)
    classes = overlay[..., 3] > 0
    assert (overlay[classes] == (200, 0, 0, 255)).all()
    expected = sorted(mark.box for mark in MARKS)
    slack = 0 if step <= 2 else step  # sides of marks are multiples of 2
    for found in (found_boxes(dark, step), found_boxes(classes, step)):
        assert np.abs(np.array(found) - np.array(expected)).max() <= slack
    assert np.mean(dark != classes) < 0.002


def test_the_slide_is_what_openslides_own_generator_makes_of_the_full_plane(
    client: httpx.Client, job: Finished
) -> None:
    import openslide

    with openslide.OpenSlide(job.store.slide_file(job.info.id)) as slide:
        generator = DeepZoomGenerator(slide, tile_size=256, overlap=0, limit_bounds=False)
        assert generator.level_count == TOP + 1
        for level in (TOP, TOP - 1, TOP - 3):
            theirs = np.asarray(generator.get_tile(level, (0, 0)).convert("RGB"), np.int16)
            answer = client.get(f"slides/{job.info.id}/slide_files/{level}/0_0.jpeg")
            ours = np.asarray(Image.open(io.BytesIO(answer.content)), np.int16)
            assert np.abs(ours - theirs).mean() < 2


def test_the_coarsest_level_is_one_pixel(client: httpx.Client, job: Finished) -> None:
    assert slide_level(client, job, 0).shape == (1, 1, 3)
    assert overlay_level(client, job, 0).shape == (1, 1, 4)


def test_tiles_are_kept_for_good_and_by_the_client_alone(client: httpx.Client, job: Finished) -> None:
    tags = set()
    for address in (
        f"slides/{job.info.id}/slide_files/{TOP}/0_0.jpeg",
        f"slides/{job.info.id}/slide_files/{TOP}/1_0.jpeg",
        f"slides/{job.info.id}/slide.dzi",
        f"slides/{job.info.id}/thumbnail.jpeg",
        f"slides/{job.info.id}/thumbnail.jpeg?max_px=64",
        f"jobs/{job.job_id}/overlay_files/{TOP}/0_0.png",
        f"jobs/{job.job_id}/overlay.dzi",
    ):
        answer = client.get(address)
        assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
        tags.add(answer.headers["etag"])
        again = client.get(address, headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert len(tags) == 7


def test_a_thumbnail_shows_the_whole_slide(client: httpx.Client, job: Finished) -> None:
    answer = client.get(f"slides/{job.info.id}/thumbnail.jpeg", params={"max_px": 288})
    picture = np.asarray(Image.open(io.BytesIO(answer.content)), np.float64)
    expected = marked_pixels().reshape(HEIGHT // 8, 8, WIDTH // 8, 8, 3).mean(axis=(1, 3))
    assert picture.shape == expected.shape
    inside = np.s_[32:, 64:]  # where both slides have tiles
    assert np.abs(picture[inside] - expected[inside]).mean() < 3


@pytest.mark.parametrize("part", [f"{TOP + 1}/0_0", f"{TOP}/9_0", f"{TOP}/0_6", "0/1_0"])
def test_tiles_that_are_none_are_not_found(client: httpx.Client, job: Finished, part: str) -> None:
    for base, picture in ((f"slides/{job.info.id}/slide_files", "jpeg"), (f"jobs/{job.job_id}/overlay_files", "png")):
        answer = client.get(f"{base}/{part}.{picture}")
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "result_not_found"


def test_a_slide_of_one_level_is_read_in_bounded_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from conftest import write_slide

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


def test_open_slides_are_bounded_and_never_shared(job: Finished, plain: Finished) -> None:
    path, pool = job.store.slide_file(job.info.id), SlidePool(1)
    with pool.borrow(path) as one, pool.borrow(path) as other:
        assert one is not other
    with pool.borrow(path) as again:
        assert again in (one, other)
    with pool.borrow(plain.store.slide_file(plain.info.id)) as another:
        assert another not in (one, other)
        assert another.geometry.bounds is None
    assert len(pool._idle) == 1
    pool.close()
    assert len(pool._idle) == 0


def test_only_the_last_things_are_remembered() -> None:
    kept = Remembered[int]()
    for number in range(REMEMBERED + 3):
        kept.get(str(number), lambda number=number: number)  # type: ignore[misc]
    assert kept.get("5", lambda: -1) == 5
    assert kept.get("0", lambda: -1) == -1
