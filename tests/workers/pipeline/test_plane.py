"""A working pixel has one value, whatever box it is read in, and it is the value the definition gives."""

from collections.abc import Iterator
from fractions import Fraction
from math import floor
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from workers.core.slide_schemas import SlideGeometry, SlideLevel
from workers.core.slides.readers.registry import open_slide
from workers.core.slides.slide import Slide
from workers.pipeline.plane import BLOCK_PX, CACHED_BLOCKS, PlaneReader
from workers.pipeline.resampling import triangle_taps
from workers.pipeline.tiling import WorkingPlane, level_downsample

Image = NDArray[np.uint8]


class ArraySlide(Slide):
    """A slide in memory; counts how often it is read."""

    backend = "openslide"
    vendor = "made"

    def __init__(self, *levels: Image) -> None:
        self.levels = levels
        self.reads = 0
        height, width = levels[0].shape[:2]
        sizes = tuple(
            SlideLevel(width=level.shape[1], height=level.shape[0], downsample=width / level.shape[1])
            for level in levels
        )
        self.geometry = SlideGeometry(l0_width=width, l0_height=height, levels=sizes)

    def _read(self, level: int, lv_x: int, lv_y: int, width: int, height: int) -> Image:
        self.reads += 1
        return self.levels[level][lv_y : lv_y + height, lv_x : lv_x + width]

    def close(self) -> None:
        pass


def noise(height: int, width: int, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def oracle(slide: ArraySlide, plane: WorkingPlane, level: int, w_x: int, w_y: int) -> list[Fraction]:
    """The definition, tap by tap, in fractions: RGB of one working px before rounding."""
    ds_x, ds_y = level_downsample(slide.geometry, level)
    pixels = slide.levels[level]

    def taps(w_position: int, scale: Fraction, length: int) -> dict[int, Fraction]:
        centre = (w_position + Fraction(1, 2)) * scale - Fraction(1, 2)
        support = max(Fraction(1), scale)
        near = {i: 1 - abs(i - centre) / support for i in range(length)}
        near = {i: weight for i, weight in near.items() if weight > 0}
        return {i: weight / sum(near.values()) for i, weight in near.items()}

    across = taps(w_x, plane.scale_x / ds_x, pixels.shape[1])
    down = taps(w_y, plane.scale_y / ds_y, pixels.shape[0])
    return [
        sum((wx * wy * int(pixels[y, x, c]) for y, wy in down.items() for x, wx in across.items()), Fraction(0))
        for c in range(3)
    ]


@pytest.mark.parametrize(
    ("scale_x", "scale_y", "level"),
    [
        ("500/499", "500/499", 0),
        ("7/3", "7/3", 0),
        ("1/2", "1/2", 0),
        ("3/5", "7/3", 0),
        ("4", "4", 0),
        ("4", "4", 1),
        ("2", "2", 0),
        ("2", "500/499", 0),
        ("9/2", "500/101", 1),
        ("1250000000000000000/570437639757221750", "2.5", 0),
    ],
)
def test_a_pixel_is_what_the_definition_says(scale_x: str, scale_y: str, level: int) -> None:
    slide = ArraySlide(noise(70, 61, 1), noise(19, 17, 2))  # level 1: no whole downsample, not the same in x and y
    plane = WorkingPlane(61, 70, Fraction(scale_x), Fraction(scale_y))
    read = PlaneReader(slide, plane, level).read(0, 0, plane.w_width, plane.w_height)
    rng = np.random.default_rng(3)
    corners = [(0, 0), (plane.w_width - 1, 0), (0, plane.w_height - 1), (plane.w_width - 1, plane.w_height - 1)]
    inner = zip(rng.integers(plane.w_width, size=40), rng.integers(plane.w_height, size=40), strict=True)
    for w_x, w_y in [*corners, *((int(x), int(y)) for x, y in inner)]:
        for value, exact in zip(read[w_y, w_x], oracle(slide, plane, level, w_x, w_y), strict=True):
            tie = abs(exact - floor(exact) - Fraction(1, 2)) < Fraction(1, 1000)
            assert abs(int(value) - floor(exact + Fraction(1, 2))) <= int(tie)


@pytest.fixture(scope="module")
def pyramid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slide]:
    """A TIFF that OpenSlide reads: level 1 is 3.7 times smaller, so OpenSlide places its pixels between pixels."""
    path = tmp_path_factory.mktemp("plane") / "made.tif"
    with tifffile.TiffWriter(path) as tiff:
        for level, pixels in enumerate((noise(1200, 1500, 4), noise(324, 405, 5))):
            tiff.write(pixels, photometric="rgb", tile=(128, 128), subfiletype=int(level > 0), metadata=None)
    with open_slide(path) as slide:
        assert slide.backend == "openslide"
        assert slide.geometry.levels[1].downsample == pytest.approx(3.7037, abs=1e-3)
        yield slide


@settings(max_examples=60)
@given(
    data=st.data(),
    case=st.sampled_from([("500/499", 0), ("2", 0), ("7/3", 0), ("1/2", 0), ("1", 0), ("37/10", 1), ("9", 1)]),
)
def test_overlapping_boxes_agree_to_the_byte(pyramid: Slide, data: st.DataObject, case: tuple[str, int]) -> None:
    scale, level = Fraction(case[0]), case[1]
    plane = WorkingPlane(1500, 1200, scale, scale)
    whole = PlaneReader(pyramid, plane, level)
    x, y = data.draw(st.integers(-40, plane.w_width)), data.draw(st.integers(-40, plane.w_height))
    first = whole.read(x, y, 150, 130)
    dx, dy = data.draw(st.integers(0, 149)), data.draw(st.integers(0, 129))
    width, height = data.draw(st.integers(1, 200)), data.draw(st.integers(1, 200))
    second = PlaneReader(pyramid, plane, level).read(x + dx, y + dy, width, height)
    np.testing.assert_array_equal(first[dy : dy + height, dx : dx + width], second[: 130 - dy, : 150 - dx])


class ExactSlide(ArraySlide):
    """One whose px are the same in any rectangle, so that rectangles are read as they are wanted."""

    exact = frozenset({0})


@settings(max_examples=40)
@given(data=st.data(), scale=st.sampled_from(["1", "2", "500/499", "124/50", "4", "1/2"]))
def test_what_is_read_at_once_is_what_is_read_by_blocks(data: st.DataObject, scale: str) -> None:
    """At a scale of 2 that holds whole-number sums away from the edges against those of matrices."""
    pixels = noise(900, 1000, 9)
    plane = WorkingPlane(1000, 900, Fraction(scale), Fraction(scale))
    x, y = data.draw(st.integers(-20, plane.w_width)), data.draw(st.integers(-20, plane.w_height))
    width, height = data.draw(st.integers(1, 330)), data.draw(st.integers(1, 330))
    read = PlaneReader(ExactSlide(pixels), plane, 0).read(x, y, width, height)
    whole = PlaneReader(ArraySlide(pixels), plane, 0).read(-20, -20, plane.w_width + 350, plane.w_height + 350)
    np.testing.assert_array_equal(read, whole[y + 20 : y + 20 + height, x + 20 : x + 20 + width])


def test_sums_are_those_of_taps_one_after_the_other_in_float32() -> None:
    """The definition as numpy writes it: labels of a job must be the same whatever makes the sums."""
    pixels = noise(260, 300, 11)
    for scale in (Fraction(500, 499), Fraction(2), Fraction(124, 50), Fraction(5, 7)):
        plane = WorkingPlane(300, 260, scale, scale)
        read = PlaneReader(ExactSlide(pixels), plane, 0).read(5, 3, 90, 80)
        rows = np.zeros((80, 300, 3), np.float32)
        down, across = triangle_taps(scale, 3, 83, 260), triangle_taps(scale, 5, 95, 300)
        for k, weight in enumerate(down.weights):
            rows += pixels[np.clip(down.first + k, 0, 259)] * weight[:, np.newaxis, np.newaxis]
        expected = np.zeros((80, 90, 3), np.float32)
        for k, weight in enumerate(across.weights):
            expected += rows[:, np.clip(across.first + k, 0, 299)] * weight[:, np.newaxis]
        np.testing.assert_array_equal(read, (expected + np.float32(0.5)).astype(np.uint8))


def test_the_slides_own_scale_is_an_exact_copy() -> None:
    levels = noise(600, 700), noise(300, 350, 1)
    slide = ArraySlide(*levels)
    at_0 = PlaneReader(slide, WorkingPlane(700, 600, Fraction(1), Fraction(1)), 0)
    at_1 = PlaneReader(slide, WorkingPlane(700, 600, Fraction(2), Fraction(2)), 1)
    np.testing.assert_array_equal(at_0.read(10, 20, 500, 540), levels[0][20:560, 10:510])
    np.testing.assert_array_equal(at_1.read(0, 0, 350, 300), levels[1])


def test_outside_the_plane_is_white() -> None:
    slide = ArraySlide(np.zeros((101, 101, 3), np.uint8))
    reader = PlaneReader(slide, WorkingPlane(101, 101, Fraction(2), Fraction(2)), 0)  # 50 whole px and a half
    read = reader.read(-8, -16, 64, 80)
    inside = np.zeros((80, 64), np.bool_)
    inside[16:66, 8:58] = True
    assert (read[inside] == 0).all()
    assert (read[~inside] == 255).all()
    assert (reader.read(50, 0, 16, 16) == 255).all()
    assert (reader.read(-100, -100, 20, 20) == 255).all()


@pytest.mark.parametrize("scale", ["500/499", "7/3", "3", "1/2"])
@pytest.mark.parametrize("value", [0, 1, 127, 243, 255])
def test_a_flat_slide_stays_flat_up_to_the_edge(scale: str, value: int) -> None:
    plane = WorkingPlane(300, 200, Fraction(scale), Fraction(scale))
    slide = ArraySlide(np.full((200, 300, 3), value, np.uint8))
    assert (PlaneReader(slide, plane, 0).read(0, 0, plane.w_width, plane.w_height) == value).all()


@given(
    st.fractions(min_value=Fraction(1, 2), max_value=9, max_denominator=10**18),
    st.integers(0, 10**6),
    st.integers(1, 40),
)
def test_the_taps_are_centred_and_sum_to_one(scale: Fraction, w_start: int, count: int) -> None:
    taps = triangle_taps(scale, w_start, w_start + count, 10**8)
    steps = np.arange(taps.weights.shape[0])[:, np.newaxis]
    np.testing.assert_allclose(taps.weights.sum(axis=0), 1, atol=1e-6)
    for i in range(0 if w_start else 10, count):  # at the edge of the slide half of the triangle is missing
        centre = (w_start + i + Fraction(1, 2)) * scale - Fraction(1, 2)
        middle = float((taps.weights[:, i] * steps[:, 0]).sum())
        assert middle + float(int(taps.first[i]) - centre) == pytest.approx(0, abs=0.13)


def test_a_ramp_stays_where_it_is() -> None:
    """Bilinear interpolation gives a straight line back, so a shift by a fraction of a px would show."""
    ramp = np.broadcast_to(np.arange(250, dtype=np.uint8)[:, np.newaxis], (40, 250, 3)).copy()
    scale = Fraction(3, 5)
    plane = WorkingPlane(250, 40, scale, scale)
    read = PlaneReader(ArraySlide(ramp), plane, 0).read(0, 0, plane.w_width, plane.w_height)[30]
    expected = [floor((w + Fraction(1, 2)) * scale) for w in range(plane.w_width)]
    np.testing.assert_array_equal(read[2:-2, 0], expected[2:-2])


def test_blocks_are_kept_but_not_all_of_them() -> None:
    slide = ArraySlide(noise(64, (CACHED_BLOCKS + 20) * BLOCK_PX))
    plane = WorkingPlane(slide.geometry.l0_width, 64, Fraction(1), Fraction(1))
    reader = PlaneReader(slide, plane, 0)
    reader.read(0, 0, 2 * BLOCK_PX, 64)
    reader.read(BLOCK_PX // 2, 0, BLOCK_PX, 64)
    assert slide.reads == 2
    reader.read(0, 0, plane.w_width, 64)
    assert len(reader._blocks) == CACHED_BLOCKS


def test_the_real_slide_is_read_as_an_independent_reader_reads_it(cmu_slide: Path) -> None:
    reference = tifffile.imread(cmu_slide, series=0)
    with open_slide(cmu_slide) as slide:
        reader = PlaneReader(slide, WorkingPlane(2220, 2967, Fraction(1), Fraction(1)), 0)
        difference = reader.read(700, 900, 600, 500).astype(int) - reference[900:1400, 700:1300].astype(int)
    assert np.abs(difference).max() <= 3  # two JPEG decoders


def test_the_real_slide_at_the_models_scale_does_not_depend_on_the_box(cmu_slide: Path) -> None:
    with open_slide(cmu_slide) as slide:
        plane = WorkingPlane.from_geometry(slide.geometry, 0.5, None)
        large = PlaneReader(slide, plane, 0).read(992, 1008, 700, 700)
        small = PlaneReader(slide, plane, 0).read(1300, 1100, 256, 300)
    np.testing.assert_array_equal(large[92:392, 308:564], small)
    assert np.ptp(small) > 100
