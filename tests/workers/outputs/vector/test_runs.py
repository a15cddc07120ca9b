"""Sums over runs: those of a loop over px, however a plane is cut into blocks, in as few bytes as they need."""

from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from workers.outputs.vector.components import Tracer
from workers.outputs.vector.runs import RunSums, joined

PLANES = npst.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 12)), elements=st.integers(0, 2))


def literal(values: NDArray[Any], weight: NDArray[Any]) -> list[tuple[int, int, int]]:
    """Return (row, column, sum) of each run, from top to bottom and from left to right."""
    found: list[list[int]] = []
    for y, x in np.ndindex(values.shape):
        if not values[y, x]:
            continue
        if x == 0 or values[y, x - 1] != values[y, x]:
            found.append([y, x, 0])
        found[-1][2] += int(weight[y, x])
    return [(y, x, total) for y, x, total in found]


def told(runs: RunSums) -> list[tuple[int, int, int]]:
    return list(zip(runs.row.tolist(), runs.column.tolist(), runs.sums[0].tolist(), strict=True))


@given(PLANES, st.integers(0, 9), st.integers(0, 9), st.integers(0, 100))
def test_sums_are_those_of_a_loop_over_px(values: NDArray[np.uint8], top: int, end: int, seed: int) -> None:
    weight = np.random.default_rng(seed).integers(0, 4096, values.shape).astype(np.uint16)
    runs = RunSums.of(values, (weight, np.zeros_like(weight)))
    assert told(runs) == literal(values, weight)
    assert not runs.sums[1].any()
    assert told(runs.rows(top, end)) == [each for each in literal(values, weight) if top <= each[0] < end]


@given(PLANES, st.sets(st.integers(1, 11)), st.randoms())
def test_a_shape_weighs_the_same_whatever_blocks_its_runs_came_in(
    values: NDArray[np.uint8], cuts: set[int], random: Any
) -> None:
    weight = np.arange(values.size, dtype=np.uint16).reshape(values.shape)
    sides = sorted({0, values.shape[1], *(each for each in cuts if each < values.shape[1])})
    parts = [RunSums.of(values[:, a:b], (weight[:, a:b],)).moved(0, a) for a, b in pairwise(sides)]
    random.shuffle(parts)
    whole, cut = (Tracer(values.shape[1]) for _ in range(2))
    first = whole.feed(values, RunSums.of(values, (weight,)))
    second = cut.feed(values, joined([RunSums.none(1), *parts]))
    assert np.array_equal(first.sums, second.sums)
    assert np.array_equal(whole.finish().sums, cut.finish().sums)


def test_a_run_takes_a_few_bytes() -> None:
    values = np.zeros((128, 1024), np.uint8)
    values[:, ::2] = 1  # as many runs as there can be of one class
    runs = RunSums.of(values, (np.full(values.shape, 200, np.uint8), np.full(values.shape, 3000, np.uint16)))
    size = sum(each.nbytes for each in (runs.row, runs.column, *runs.sums))
    assert len(runs) == values.size // 2
    assert size <= 3 * values.size
