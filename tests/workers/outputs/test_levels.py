"""Tiles of all levels, held against the plane's own pixels."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from workers.core.label_layout import TILE_PX
from workers.outputs.levels import Levels, Tile

UInt8 = NDArray[np.uint8]


class Watched:
    """An array that counts how often each pixel was read, and how much at once."""

    def __init__(self, pixels: UInt8, chunk: int) -> None:
        self.pixels = pixels
        self.shape, self.chunks = pixels.shape, (chunk, chunk)
        self.reads = np.zeros(pixels.shape, np.int64)
        self.longest = 0

    def __getitem__(self, key: Any) -> UInt8:
        self.reads[key] += 1
        self.longest = max(self.longest, *self.pixels[key].shape)
        part: UInt8 = self.pixels[key]
        return part


def inflated(levels: Levels, step: int) -> UInt8:
    """All tiles of a level side by side."""
    rows, cols = levels.grid(step)
    tiles = [np.frombuffer(zlib.decompress(tile), np.uint8) for tile in levels.tiles(step)]
    grid = np.stack(tiles).reshape(rows, cols, TILE_PX, TILE_PX)
    return grid.transpose(0, 2, 1, 3).reshape(rows * TILE_PX, cols * TILE_PX)


def plane(height: int, width: int, seed: int) -> UInt8:
    """Speckles, flat places of two classes, and nothing."""
    made = np.random.default_rng(seed).integers(0, 5, (height, width), dtype=np.uint8)
    made[: height // 2, width // 2 :] = seed % 3
    made[height // 2 :, : width // 3] = 0
    return made


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.tuples(st.integers(1, 4000), st.integers(1, 4000)),
    chunk=st.sampled_from([256, 700, 1024, 2048]),
    block_px=st.sampled_from([512, 1024, 4096]),
    seed=st.integers(0, 5),
)
def test_each_level_is_every_nth_pixel_and_nothing_past_the_edge(
    tmp_path: Path, size: tuple[int, int], chunk: int, block_px: int, seed: int
) -> None:
    pixels = plane(*size, seed)
    watched = Watched(pixels, chunk)
    with Levels(watched, tmp_path, block_px) as levels:
        for step in reversed(levels.steps):
            wanted = pixels[::step, ::step]
            found = inflated(levels, step)
            assert np.array_equal(found[: wanted.shape[0], : wanted.shape[1]], wanted)
            assert not found[wanted.shape[0] :].any()
            assert not found[:, wanted.shape[1] :].any()
        assert (watched.reads == 1).all()
        assert watched.longest <= max(block_px, -(-chunk // block_px) * block_px)
    assert list(tmp_path.iterdir()) == []


def test_a_flat_tile_is_deflated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deflated: list[bytes] = []

    def deflate(tile: bytes, level: int) -> bytes:
        deflated.append(tile)
        return zlib.compress(tile, level)

    monkeypatch.setattr("workers.outputs.levels.isal_zlib.compress", deflate)
    pixels = np.full((2048, 2048), 2, np.uint8)
    pixels[:, 1024:] = 0
    with Levels(Watched(pixels, 512), tmp_path) as levels:
        assert np.array_equal(inflated(levels, 1), pixels)
        assert np.array_equal(inflated(levels, 2), pixels[::2, ::2])
    assert len(deflated) == 3  # two classes, and the last level, which has both


@pytest.mark.parametrize("place", [(0, 0), (3, 7), (160, 11), (511, 511)])
def test_a_tile_with_one_px_of_another_value_is_not_flat(place: tuple[int, int]) -> None:
    pixels = np.full((512, 512), 2, np.uint8)
    assert Tile(0, 0, 0, pixels).flat() == 2
    pixels[place] = 1
    assert Tile(0, 0, 0, pixels).flat() is None


def test_a_plane_that_cannot_be_read_leaves_no_file(tmp_path: Path) -> None:
    class Broken(Watched):
        def __getitem__(self, key: Any) -> UInt8:
            raise OSError("no such chunk")

    levels = Levels(Broken(np.zeros((600, 600), np.uint8), 256), tmp_path)
    with pytest.raises(OSError, match="no such chunk"):
        list(levels.tiles(1))
    with pytest.raises(OSError, match="no such chunk"):  # asked again, it reads again
        list(levels.tiles(1))
    assert list(tmp_path.iterdir()) == []
