"""Objects of a mask: every component by itself, markers that count, numbers in raster order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import reconstruction

from models import objects
from models.config import ObjectConfig
from models.objects import SMALL_UM, shallow, split_objects

UInt8 = NDArray[np.uint8]


def clusters(seed: int, side: int = 48, steps: int = 5) -> tuple[NDArray[np.bool_], UInt8]:
    """Return a mask of components that touch at many places, and an interior map of few values: full of ties."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.random((side, side)), 1.5)
    interior = np.round((smooth - smooth.min()) / np.ptp(smooth) * steps) / steps * 255
    return ndimage.gaussian_filter(rng.random((side, side)), 2.5) > 0.5, interior.astype(np.uint8)


def numbered(numbers: NDArray[np.int32]) -> NDArray[np.int32]:
    """Number again from 1, by first pixel."""
    used, first = np.unique(numbers[numbers > 0], return_index=True)
    order = np.zeros(numbers.max() + 1, np.int32)
    order[used[np.argsort(first)]] = np.arange(1, len(used) + 1)
    again: NDArray[np.int32] = order[numbers]
    return again


def smoothed(interior: UInt8, inside: NDArray[np.bool_]) -> NDArray[np.int64]:
    """One pass of 1, 2, 1 down and one across within a component, pixel by pixel."""
    height, width = inside.shape
    values = np.where(inside, interior, 0).astype(int)
    for dy, dx in ((1, 0), (0, 1)):
        before = values.copy()
        for y, x in np.argwhere(inside):
            around = [(y - dy, x - dx), (y + dy, x + dx)]
            total = sum(before[a] for a in around if 0 <= a[0] < height and 0 <= a[1] < width and inside[a])
            values[y, x] = (2 * before[y, x] + total + 2) // 4
    return values


def outstanding(depth: NDArray[np.int64], inside: NDArray[np.bool_], least: int) -> int:
    """Count the maxima from which every way to a higher one leads down by more than `least`: by flooding from above."""
    top: dict[tuple[int, int], tuple[int, int]] = {}

    def find(place: tuple[int, int]) -> tuple[int, int]:
        while top[place] != place:
            place = top[place]
        return place

    count = 1  # the highest
    places = [(y, x) for y, x in np.argwhere(inside).tolist()]
    for y, x in sorted(places, key=lambda at: -depth[at]):
        place = top[y, x] = y, x
        for beside in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if beside in top and find(beside) != find(place):
                lower, higher = sorted((find(beside), find(place)), key=lambda at: depth[at])
                count += depth[lower] - depth[place] > least
                top[lower] = higher
    return int(count)


@given(seed=st.integers(0, 2**20), smooth_um=st.sampled_from([0.0, 0.5]))
def test_a_component_is_split_as_if_it_were_alone(seed: int, smooth_um: float) -> None:
    mask, interior = clusters(seed)
    config = ObjectConfig(smooth_um=smooth_um)
    numbers = split_objects(mask, interior, 0.5, config)
    assert ((numbers > 0) == mask).all()
    pieces, count = ndimage.label(mask)
    for piece in range(1, count + 1):
        box = ndimage.find_objects((pieces == piece).astype(int))[0]
        alone = split_objects(pieces[box] == piece, interior[box], 0.5, config)
        np.testing.assert_array_equal(numbered(np.where(pieces[box] == piece, numbers[box], 0)), alone)


@given(seed=st.integers(0, 2**20), smooth=st.booleans())
def test_a_component_has_an_object_for_each_maximum_that_stands_out(seed: int, smooth: bool) -> None:
    mask, interior = clusters(seed, 28, steps=9)
    config = ObjectConfig(prominence=0.2, smooth_um=0.35 if smooth else 0)  # one pass at 0.5 µm/px
    numbers = split_objects(mask, interior, 0.5, config)
    pieces, count = ndimage.label(mask)
    for piece in range(1, count + 1):
        inside = pieces == piece
        found = np.unique(numbers[inside])
        depth = smoothed(interior, inside) if smooth else interior.astype(int)
        assert len(found) == outstanding(depth, inside, 51)
        assert all(ndimage.label(numbers == number)[1] == 1 for number in found)


def test_two_that_touch_are_two_and_one_without_a_marker_is_one() -> None:
    mask = np.zeros((5, 12), bool)
    mask[1:4, 1:8] = mask[1:3, 9:11] = True
    interior = np.zeros((5, 12), np.uint8)
    interior[2, 2] = interior[2, 6] = 255
    numbers = split_objects(mask, interior, 1.0, ObjectConfig())
    assert numbers.max() == 3
    assert (numbers[2, 2], numbers[2, 10], numbers[2, 6]) == (1, 3, 2)
    assert (split_objects(mask, None, 1.0, ObjectConfig()) == ndimage.label(mask)[0]).all()


@pytest.mark.parametrize("interior", [None, np.zeros((4, 4), np.uint8)])
def test_nothing_has_no_objects(interior: UInt8 | None) -> None:
    assert not split_objects(np.zeros((4, 4), bool), interior, 0.5, ObjectConfig()).any()


@given(seed=st.integers(0, 2**20), least=st.sampled_from([0.0, 0.4, 0.7]))
def test_shallow_is_what_is_small_and_has_no_middle(seed: int, least: float) -> None:
    mask, interior = clusters(seed, 64)
    found = shallow(mask.astype(np.uint8), interior, 4.0, least)  # 16 µm are 4 px
    pieces, count = ndimage.label(mask)
    wanted = np.zeros(mask.shape, bool)
    for piece in range(1, count + 1):
        rows, cols = np.nonzero(pieces == piece)
        small = max(np.ptp(rows), np.ptp(cols)) + 1 <= 4
        wanted |= (pieces == piece) & bool(small and interior[pieces == piece].max() < least * 255)
    np.testing.assert_array_equal(found, wanted)


@given(seed=st.integers(0, 2**20), at=st.tuples(st.integers(0, 30), st.integers(0, 30)))
def test_a_tile_with_as_much_context_finds_the_same_shallow_places(seed: int, at: tuple[int, int]) -> None:
    mask, interior = clusters(seed, 64)
    context = round(SMALL_UM / 2.0)
    whole = shallow(mask.astype(np.uint8), interior, 2.0, 0.6)
    core = tuple(slice(start, start + 20) for start in at)
    box = tuple(slice(max(0, one.start - context), one.stop + context) for one in core)
    tile = shallow(mask[box].astype(np.uint8), interior[box], 2.0, 0.6)
    inner = tuple(slice(one.start - out.start, one.stop - out.start) for one, out in zip(core, box, strict=True))
    np.testing.assert_array_equal(tile[inner], whole[core])


def spiral(side: int) -> NDArray[np.bool_]:
    """A corridor of one px that winds inwards: some hundred steps from end to end."""
    inside = np.zeros((side, side), np.bool_)
    y, x, dy, dx = 0, 0, 0, 1
    inside[y, x] = True
    while True:
        for _ in range(2):
            ahead = y + 2 * dy, x + 2 * dx
            is_free = 0 <= y + dy < side and 0 <= x + dx < side and not inside[y + dy, x + dx]
            beyond = 0 <= ahead[0] < side and 0 <= ahead[1] < side and inside[ahead]
            if is_free and not beyond:
                break
            dy, dx = dx, -dy
        else:
            return inside
        y, x = y + dy, x + dx
        inside[y, x] = True


@given(seed=st.integers(0, 2**20), least=st.integers(1, 120))
def test_growth_below_a_map_is_the_reconstruction_of_others(seed: int, least: int) -> None:
    mask, interior = clusters(seed, steps=9)
    high = np.where(mask, interior, 0).astype(np.int16)
    low = np.maximum(high - np.int16(least), 0)
    cross = ndimage.generate_binary_structure(2, 1)
    np.testing.assert_array_equal(objects._grown(low, high), reconstruction(low, high, footprint=cross))


@pytest.mark.parametrize(("valley", "parts"), [(220, 1), (120, 2)])
def test_a_winding_object_has_the_maxima_that_a_flood_from_above_finds(valley: int, parts: int) -> None:
    """Its ends are high; the way between them is longer than what grows step by step."""
    inside = spiral(41)
    places = np.argwhere(inside)
    assert len(places) > 2 * objects.GROWTH_STEPS
    interior = np.where(inside, valley, 0).astype(np.uint8)
    interior[0, 0], interior[20, 20] = 255, 250
    assert inside[20, 20]
    numbers = split_objects(inside, interior, 0.5, ObjectConfig(smooth_um=0.0, prominence=0.25))
    assert numbers.max() == parts == outstanding(interior.astype(np.int64), inside, round(0.25 * 255))


def test_components_that_fill_several_batches_are_split_as_they_are_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    mask, interior = clusters(11, side=200)
    config = ObjectConfig(smooth_um=0.0)
    at_once = split_objects(mask, interior, 0.5, config)
    monkeypatch.setattr(objects, "BATCH_PX", 300)
    monkeypatch.setattr(objects, "SHELF_PX", 20)
    np.testing.assert_array_equal(split_objects(mask, interior, 0.5, config), at_once)
    assert at_once.max() > ndimage.label(mask)[1]
