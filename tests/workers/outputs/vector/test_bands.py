"""Bands of a plane: the rows as they are, what their runs weigh, and no px read twice."""

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from workers.outputs.vector import bands
from workers.pipeline.stitch import band_height

CHUNK = 16


class Counted:
    """An array of the plane that counts how often each px is read."""

    chunks = (CHUNK, CHUNK)

    def __init__(self, pixels: NDArray[Any]) -> None:
        self.pixels, self.shape = pixels, pixels.shape
        self.reads = np.zeros(pixels.shape, int)

    def __getitem__(self, key: Any) -> Any:
        self.reads[key] += 1
        return self.pixels[key]


def runs_of(values: NDArray[Any], weight: NDArray[Any], block: int) -> Iterator[tuple[tuple[int, int], int]]:
    """Yield the first px of each run of one value, none of which crosses a block, and what it weighs: literally."""
    for y, row in enumerate(values.tolist()):
        first, total = None, 0
        for x, value in enumerate([*row, 0]):
            if first is not None and (value != row[first] or x % block == 0):
                yield (y, first), total
                first = None
            if value and first is None:
                first, total = x, 0
            if value:
                total += int(weight[y, x])


@pytest.mark.parametrize("budget", [100, 5 * 100, 16 * 100, 40 * 100, 10**6])
@pytest.mark.parametrize("kind", [np.uint8, np.uint32])
def test_bands_are_the_plane_cut_into_rows_and_what_it_weighs(
    monkeypatch: pytest.MonkeyPatch, budget: int, kind: type
) -> None:
    monkeypatch.setattr(bands, "BLOCK_PX", 20)  # two chunks
    rng = np.random.default_rng(budget)
    pixels: NDArray[Any] = (rng.integers(1, 200, (70, 100)) * (rng.random((70, 100)) < 0.3)).astype(kind)
    pixels[40:60] = 0
    heavy = rng.integers(0, 4096, pixels.shape).astype(np.uint16)
    plane = Counted(pixels)
    asked: list[tuple[int, int]] = []

    def weigh(w_y: int, w_x: int, block: Any) -> Any:
        asked.append((w_y, w_x))
        place = slice(w_y, w_y + block.shape[0]), slice(w_x, w_x + block.shape[1])
        np.testing.assert_array_equal(block, pixels[place])
        return heavy[place], np.zeros(block.shape, np.uint8)

    rows = band_height(plane, budget)
    found = list(bands.bands(plane, np.dtype(kind), rows, weigh))
    assert all(band.rows <= rows for band in found)
    for end, band in zip(accumulate(band.rows for band in found), found, strict=True):
        place = slice(end - band.rows, end)
        np.testing.assert_array_equal(band.values(), pixels[place])
        assert band.values().dtype == kind
        runs = band.runs(2)
        found_runs = {(y, x): total for y, x, total in zip(runs.row, runs.column, runs.sums[0], strict=True)}
        assert found_runs == dict(runs_of(pixels[place], heavy[place], 32))  # a block is two chunks wide
        assert len(runs) == len(found_runs)
        assert not runs.sums[1].any()
        assert band.is_empty == (not pixels[place].any())
    assert end == 70
    assert (plane.reads == 1).all()
    assert len(asked) == len(set(asked))
