"""What opens as an OME-Zarr and is not what it seems says so; what is all right says nothing."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import format_chunk_changes as chunk_changes
from benchmarks import format_zarr_changes as changes
from benchmarks.format_slides import section
from benchmarks.format_zarr import planes_of, write_image, zipped
from benchmarks.format_zarr_changes import ZarrChange
from benchmarks.format_zarr_edit import ZarrEdit
from workers.core.slides.doubts import doubts_of
from workers.core.slides.readers.registry import open_slide
from workers.core.slides.readers.zarr import missing

WIDTH, HEIGHT, TILE = 384, 256, 64


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OME-Zarr without levels: what is said of it is not said by comparing them."""
    folder = tmp_path_factory.mktemp("good")
    planes = planes_of(section(width=WIDTH, height=HEIGHT))
    return zipped(write_image(folder / "a.zarr", planes, factors=(1,), chunks=(1, TILE, TILE)), folder / "a.zip")


def codes(path: Path) -> list[tuple[str, str | None]]:
    with open_slide(path) as slide:
        return [(each.code, each.value) for each in (*slide.warnings, *doubts_of(path))]


def test_a_good_one_says_nothing(good: Path) -> None:
    assert codes(good) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            chunk_changes.stored(0, chunk_changes.copied),
            ("tiles_repeated", "level 0: 1 of 71 chunks, one of them 2 times"),
        ),
        (changes.shape(0, -TILE, 0), ("tiles_left_over", "level 0: 12 chunks beyond its shape")),
        (changes.channels(2, 0), ("tiles_left_over", "level 0: 24 chunks beyond its shape")),
        (changes.array(changes.separator, 0), ("tiles_missing", "level 0: 0")),
        (chunk_changes.stored(0, lambda keys: [None] * len(keys)), ("tiles_missing", "level 0: 0")),
    ],
    ids=["copied", "narrower", "fewer channels", "other keys", "none"],
)
def test_files_that_do_not_fit_what_is_said_of_them_are_said(
    good: Path, tmp_path: Path, change: ZarrChange, said: tuple[str, str]
) -> None:
    edit = ZarrEdit(good)
    assert change(edit) is not False
    edit.save(tmp_path / "b.zip")
    assert said in codes(tmp_path / "b.zip")


@pytest.mark.parametrize("shards", [None, (3, 2 * TILE, 2 * TILE)])
def test_channels_that_chunks_hold_beyond_the_shape_are_said(tmp_path: Path, shards: tuple[int, ...] | None) -> None:
    planes = planes_of(section(width=WIDTH, height=HEIGHT))
    side = 1 if shards else 3
    folder = write_image(tmp_path / "a.zarr", planes, factors=(1,), chunks=(side, TILE, TILE), shards=shards)
    edit = ZarrEdit(zipped(folder, tmp_path / "a.zip"))
    content = edit.json("0/zarr.json")
    content["shape"][0] = 1
    edit.put("0/zarr.json", content)
    edit.save(tmp_path / "b.zip")
    left_over = ("tiles_left_over", "level 0: planes within its chunks beyond its shape")
    assert codes(tmp_path / "b.zip") == [left_over, ("colours_absent", None)]  # one plane is grey


def test_chunks_that_are_larger_than_the_array_say_nothing_where_the_rest_is_fill(tmp_path: Path) -> None:
    grey = section(width=WIDTH, height=HEIGHT)[..., 0]
    folder = write_image(tmp_path / "a.zarr", grey[None, None], "czyx", factors=(1,), chunks=(4, 2, 100, 500))
    assert codes(zipped(folder, tmp_path / "a.zip")) == [("colours_absent", None)]  # one plane is grey


def test_glass_may_be_stored_many_times(tmp_path: Path) -> None:
    planes = planes_of(section(width=WIDTH, height=HEIGHT))
    glass = np.full((3, 2 * HEIGHT, WIDTH), 243, np.uint8)
    pixels = np.concatenate([planes, glass], axis=1)
    folder = write_image(tmp_path / "a.zarr", pixels, factors=(1,), chunks=(1, TILE, TILE))
    assert codes(zipped(folder, tmp_path / "a.zip")) == []


# --- chunks that were lost --------------------------------------------------------------------------------------------


def pyramid(folder: Path, *, fill: int = 0, **options: Any) -> Path:
    """Write three levels of glass of one colour and an island of tissue; zarr leaves chunks of fill out."""
    pixels = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    pixels[64:192, 100:300] = section(width=WIDTH, height=HEIGHT)[64:192, 100:300]
    options = {"chunks": (1, 32, 32), "fill_value": fill, **options}
    return write_image(folder, planes_of(pixels), **options)


@pytest.mark.parametrize("options", [{}, {"shards": (3, 64, 128)}, {"chunks": (3, 32, 32)}], ids=str)
@pytest.mark.parametrize("fill", [0, 255])
def test_what_was_left_out_because_it_is_fill_says_nothing(tmp_path: Path, options: dict[str, Any], fill: int) -> None:
    folder = pyramid(tmp_path / "a.zarr", fill=fill, **options)
    assert (folder / "0" / "c" / "0" / "0" / "0").exists() is (fill == 0)
    for path in (folder, zipped(folder, tmp_path / "a.zip")):
        assert codes(path) == []


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("fill", [0, 255])
def test_one_chunk_of_one_channel_that_was_lost_is_said(tmp_path: Path, level: int, fill: int) -> None:
    folder = pyramid(tmp_path / "a.zarr", fill=fill)
    place = (4, 6) if level == 0 else (2, 3)
    (folder / str(level) / "c" / "1" / str(place[0]) / str(place[1])).unlink()
    for path in (folder, zipped(folder, tmp_path / "a.zip")):
        found = dict(codes(path))
        assert str(found["tiles_missing"]).startswith(f"level {level}: 1 of ")
        (told,) = (each for each in doubts_of(path) if each.code == "tiles_missing")
        ((x0, y0, x1, y1),) = told.places
        side = 32 << level
        assert (x0, y0) == (place[1] * side, place[0] * side)
        assert (x1 - x0, y1 - y0) == (side, side)


def test_of_a_level_that_is_too_large_to_be_held_some_places_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pyramid(tmp_path / "a.zarr", fill=255)
    shutil.rmtree(folder / "0" / "c" / "1")
    monkeypatch.setattr(missing, "WHOLE_PX", 0)
    monkeypatch.setattr(missing, "READS", 20)
    said = next(value for code, value in codes(folder) if code == "tiles_missing")
    lost, looked_at = map(int, re.findall(r"(\d+) of (\d+)", str(said))[0])
    assert 0 < lost < looked_at < 60
