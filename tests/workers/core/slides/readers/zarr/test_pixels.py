"""Pixels of OME-Zarrs that zarr-python wrote, beside the arrays they were written from and beside what it reads."""

import itertools
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.format_zarr import CODECS_2, CODECS_3, write_image, zipped
from workers.core.slides.readers.registry import open_slide
from workers.core.slides.slide import Slide

UInt8 = NDArray[np.uint8]


def noise(*shape: int) -> UInt8:
    return np.random.default_rng(7).integers(0, 256, shape, np.uint8)


def shown(pixels: UInt8, axes: str) -> UInt8:
    """Return what has to be seen of samples: the first moment, the middle plane, up to three channels."""
    whole = dict(zip(axes, pixels.shape, strict=True))
    picture = np.zeros((whole["y"], whole["x"], 3), np.uint8)
    channels = whole.get("c", 1)
    for y, x, colour in itertools.product(range(whole["y"]), range(whole["x"]), range(3)):
        at = {"t": 0, "z": whole.get("z", 1) // 2, "c": colour if channels > 1 else 0, "y": y, "x": x}
        if at["c"] < channels:
            picture[y, x, colour] = pixels[tuple(at[axis] for axis in axes)]
    return picture


def whole(slide: Slide, level: int = 0) -> UInt8:
    size = slide.geometry.levels[level]
    return slide.read_level(level, 0, 0, size.width, size.height)


@pytest.mark.parametrize(
    ("version", "codec"), [*(("0.4", each) for each in CODECS_2), *(("0.5", each) for each in CODECS_3)]
)
@pytest.mark.parametrize("is_packed", [False, True])
def test_every_codec_gives_the_samples_that_were_written(
    tmp_path: Path, version: str, codec: str, *, is_packed: bool
) -> None:
    planes = noise(3, 300, 401)
    planes[:, :100] //= 64  # something to pack
    compressors = (CODECS_2 if version == "0.4" else CODECS_3)[codec]
    folder = write_image(tmp_path / "a.zarr", planes, version=version, factors=(1,), compressors=compressors)
    for path in (folder, zipped(folder, tmp_path / "a.zip", "a.zarr/", packed=is_packed)):
        with open_slide(path) as slide:
            assert (slide.vendor, slide.backend) == ("ome-zarr", "zarr")
            np.testing.assert_array_equal(whole(slide), np.moveaxis(planes, 0, 2))
            np.testing.assert_array_equal(
                slide.read_level(0, 100, 90, 60, 70), np.moveaxis(planes, 0, 2)[90:160, 100:160]
            )


@pytest.mark.parametrize("axes", ["yx", "cyx", "zyx", "tyx", "czyx", "zcyx", "tczyx", "yxc", "ycx"])
@pytest.mark.parametrize("channels", [2, 3, 5])
def test_of_any_order_of_axes_the_same_is_seen(tmp_path: Path, axes: str, channels: int) -> None:
    lengths = {"t": 2, "c": channels, "z": 4, "y": 37, "x": 45}
    chunks = {"t": 2, "c": 2, "z": 3, "y": 16, "x": 20}
    pixels = noise(*(lengths[axis] for axis in axes))
    folder = write_image(tmp_path / "a.zarr", pixels, axes, factors=(1,), chunks=tuple(chunks[axis] for axis in axes))
    with open_slide(folder) as slide:
        np.testing.assert_array_equal(whole(slide), shown(pixels, axes))
        assert (slide.content.z_planes, slide.content.z_read) == ((4, 2) if "z" in axes else (1, 0))


@st.composite
def arrays(draw: st.DrawFn) -> dict[str, Any]:
    """An array: its shape, chunks, shards, version and codec, and which of its chunks are not stored."""
    axes = draw(st.sampled_from(["cyx", "yxc", "yx", "czyx"]))
    version = draw(st.sampled_from(["0.4", "0.5"]))
    chunks = [draw(st.integers(1, 3) if axis in "cz" else st.integers(1, 24)) for axis in axes]
    shape = [draw(st.integers(1, 4) if axis in "cz" else st.integers(8, 50)) for axis in axes]
    options: dict[str, Any] = {"chunks": tuple(chunks), "fill_value": draw(st.integers(0, 255))}
    if version == "0.5":
        options["compressors"] = CODECS_3[draw(st.sampled_from(sorted(CODECS_3)))]
        if draw(st.booleans()):
            options["shards"] = tuple(side * draw(st.integers(1, 3)) for side in chunks)
    else:
        options["compressors"] = CODECS_2[draw(st.sampled_from(sorted(CODECS_2)))]
        options["order"] = draw(st.sampled_from("CF"))
    pixels = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 256, shape, np.uint8)
    filled = draw(st.integers(0, shape[axes.index("x")]))
    pixels[tuple(slice(0, filled) if axis == "x" else slice(None) for axis in axes)] = options["fill_value"]
    return {"pixels": pixels, "axes": axes, "version": version, **options}


@pytest.mark.slow
@settings(max_examples=40)
@given(arrays(), st.tuples(*[st.integers(-6, 50)] * 2), st.tuples(*[st.integers(1, 50)] * 2))
def test_any_part_of_any_array_is_what_was_written(
    made: dict[str, Any], at: tuple[int, int], size: tuple[int, int]
) -> None:
    pixels, axes = made.pop("pixels"), made.pop("axes")
    with tempfile.TemporaryDirectory() as name:
        folder = write_image(Path(name) / "a.zarr", pixels, axes, factors=(1,), **made)
        path = zipped(folder, Path(name) / "a.zip")
        expected = np.full((120, 120, 3), 255, np.uint8)
        seen = shown(pixels, axes)
        expected[10 : 10 + seen.shape[0], 10 : 10 + seen.shape[1]] = seen
        with open_slide(path) as slide:
            found = slide.read_level(0, *at, *size)
    (x, y), (width, height) = at, size
    np.testing.assert_array_equal(found, expected[10 + y : 10 + y + height, 10 + x : 10 + x + width])


def test_what_is_not_stored_is_fill_and_white_where_no_fill_is_said(tmp_path: Path) -> None:
    for version, fill, seen in (("0.4", 9, 9), ("0.5", 9, 9), ("0.4", None, 255)):
        folder = tmp_path / f"{version}-{fill}.zarr"
        write_image(folder, np.full((3, 256, 256), 100, np.uint8), version=version, factors=(1,), fill_value=fill or 0)
        chunks = sorted(folder.glob("0/0/0/1" if version == "0.4" else "0/c/0/0/1"))
        assert len(chunks) == 1
        chunks[0].unlink()
        if fill is None:
            said = folder / "0" / ".zarray"
            said.write_text(said.read_text().replace('"fill_value": 0', '"fill_value": null'))
        with open_slide(folder) as slide:
            assert slide.read_level(0, 200, 50, 1, 1)[0, 0].tolist() == [seen, 100, 100]
            assert slide.read_level(0, 100, 50, 1, 1)[0, 0].tolist() == [100, 100, 100]
        if fill is not None:
            assert zarr.open_array(folder, path="0", mode="r")[0, 50, 200] == seen


def test_of_a_file_that_stands_in_the_zip_twice_the_last_counts(tmp_path: Path) -> None:
    """So does zarr's own store, which writes a file again at the end of the zip."""
    folder = write_image(tmp_path / "a.zarr", noise(3, 200, 200), factors=(1,), compressors=())
    path = zipped(folder, tmp_path / "a.zip")
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("0/c/1/0/0", bytes([77]) * 128 * 128)
    with open_slide(path) as slide:
        assert slide.read_level(0, 0, 0, 128, 128)[..., 1].tolist() == [[77] * 128] * 128
    with zarr.storage.ZipStore(path, mode="r") as store:
        assert np.all(np.asarray(zarr.open_array(store, path="0", mode="r")[1, :128, :128]) == 77)


def test_memory_does_not_grow_with_what_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from workers.core.slides.readers.zarr import reader

    monkeypatch.setattr(reader, "CACHE_BYTES", 3 * 64 * 64 * 3)
    folder = write_image(tmp_path / "a.zarr", noise(3, 500, 500), factors=(1,), chunks=(1, 64, 64))
    with open_slide(folder) as slide:
        assert isinstance(slide, reader.OmeZarrSlide)
        whole(slide)
        assert len(slide._cache) == 3
        assert slide._cached_bytes == sum(tile.nbytes for tile in slide._cache.values())
