"""The map lies where the slide is spoiled, and reads no more of it than it may."""

from collections.abc import Callable
from fractions import Fraction
from math import ceil, floor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage

from workers.core.errors.base import SlideUnreadable
from workers.core.quality_schemas import Quality
from workers.core.slides.readers.registry import open_slide
from workers.pipeline.overview import Overview
from workers.pipeline.plane import PlaneReader
from workers.pipeline.quality_map import BLUR, FOLD, INK, QualityMap, look
from workers.pipeline.tiling import Box, WorkingPlane
from workers.pipeline.tissue import find_tissue

Pixels = NDArray[np.uint8]
MPP = 0.5


def pixels(blurred: bool = False) -> Pixels:
    """Return 1024 x 1536 px of texture between two margins of glass; its right half may be out of focus."""
    rng = np.random.default_rng(2)
    fine = ndimage.gaussian_filter(rng.normal(0, 1, (1024, 1536)), 1.5)
    stained = 0.35 + 1.2 * fine[..., np.newaxis]
    density = np.maximum(stained, 0) * np.array((0.6, 1, 0.5))
    density[:, :128] = density[:, -128:] = 0
    if blurred:
        density[:, 768:] = ndimage.gaussian_filter(density, (8, 8, 0))[:, 768:]
    seen: Pixels = (243 * 10**-density).clip(1, 255).astype(np.uint8)
    return seen


def looked(path: Path, fields_max: int | None = None, mpp: float = MPP) -> tuple[QualityMap, Quality]:
    with open_slide(path) as slide:
        overview = Overview.from_slide(slide)
        tissue = find_tissue(overview)
        return look(slide, overview, tissue, tissue, (mpp, mpp), fields_max)


def test_what_is_out_of_focus_is_mapped_where_it_lies(made_slide: Callable[..., Path]) -> None:
    sharp, quality = looked(made_slide(pixels()))
    assert not sharp.labels.any()
    assert quality.share("blur") == 0
    found, quality = looked(made_slide(pixels(blurred=True)))
    assert found.l0_per_px_x == found.l0_per_px_y == 16
    assert not (found.labels[:, :40] == BLUR).any()
    assert (found.labels[:, 48:80] == BLUR).mean() > 0.9
    assert quality.share("blur") == pytest.approx(0.5, abs=0.1)
    (area,) = (each.mm2 for each in quality.areas if each.name == "blur")
    assert area == pytest.approx((found.labels == BLUR).sum() * 64e-6)


def pieces(mask: NDArray[np.bool_]) -> list[list[tuple[int, int]]]:
    """Return the px of each connected piece, corners included, one by one."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    found = []
    while left:
        reached = [left.pop()]
        for y, x in reached:
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            reached += near
        found.append(reached)
    return found


@given(
    labels=arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 3)),
    counted=st.data(),
    scales=st.tuples(*[st.fractions(1, 40, max_denominator=7)] * 2),
)
def test_places_are_the_boxes_of_connected_pieces(
    labels: Pixels, counted: st.DataObject, scales: tuple[Fraction, Fraction]
) -> None:
    within = counted.draw(arrays(np.bool_, labels.shape))
    height, width = labels.shape
    size = floor(width * scales[0]), floor(height * scales[1])  # the last px may reach beyond the slide
    found = QualityMap(labels, *scales).places("fold", within, size)
    expected = [
        (
            floor(min(x for _, x in piece) * scales[0]),
            floor(min(y for y, _ in piece) * scales[1]),
            min(size[0], ceil((max(x for _, x in piece) + 1) * scales[0])),
            min(size[1], ceil((max(y for y, _ in piece) + 1) * scales[1])),
        )
        for piece in pieces((labels == FOLD) & within)
    ]
    assert sorted(found) == sorted(expected)


def test_few_fields_stand_for_all(made_slide: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    read = PlaneReader.read

    def noted(reader: PlaneReader, *box: int) -> Pixels:
        reads.append(box)
        return read(reader, *box)

    monkeypatch.setattr(PlaneReader, "read", noted)
    _, quality = looked(made_slide(pixels(blurred=True)), 4)
    assert len(reads) == quality.focus_fields_read == 4 < quality.focus_fields == 6
    assert all(box[2:] == (256, 256) for box in reads)
    (area,) = (each for each in quality.areas if each.name == "blur")
    assert 0.2 < area.share_of_tissue < 0.8
    assert area.mm2 == pytest.approx(area.share_of_tissue * 1280 * 1024 * MPP**2 / 1e6, rel=0.1)  # of all tissue


def test_a_field_that_cannot_be_read_and_a_coarse_slide_fail_no_job(
    made_slide: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, quality = looked(made_slide(pixels(), mpp=1.2), mpp=1.2)
    assert (quality.focus_fields, quality.focus_fields_read) == (0, 0)

    def broken(*_: object) -> Pixels:
        raise SlideUnreadable("A tile cannot be decoded.")

    monkeypatch.setattr(PlaneReader, "read", broken)
    _, quality = looked(made_slide(pixels()))
    assert (quality.focus_fields, quality.focus_fields_read, quality.share("blur")) == (6, 0, 0)


def test_ink_stands_above_focus_and_counts_where_the_job_is(made_slide: Callable[..., Path]) -> None:
    seen = pixels(blurred=True)
    y, x = np.indices(seen.shape[:2])
    stroke = np.abs(y - x / 2) < 60
    seen[stroke] = (seen[stroke] * (np.array((20, 60, 170)) / 243)).astype(np.uint8)
    found, quality = looked(made_slide(seen))
    assert (found.labels[stroke[8::16, 8::16]] == INK).mean() > 0.8
    assert quality.share("ink") == pytest.approx(0.11, abs=0.04)


maps = st.builds(
    lambda seed, rows, columns, x, y: QualityMap(
        np.random.default_rng(seed).integers(0, 4, (rows, columns), np.uint8), Fraction(x), Fraction(y)
    ),
    st.integers(0, 1000),
    st.integers(2, 9),
    st.integers(2, 9),
    st.fractions(min_value=7, max_value=40, max_denominator=7),
    st.fractions(min_value=7, max_value=40, max_denominator=7),
)
planes = st.builds(
    WorkingPlane,
    st.just(200),
    st.just(200),
    st.fractions(min_value=Fraction(1, 2), max_value=5, max_denominator=500),
    st.fractions(min_value=Fraction(1, 2), max_value=5, max_denominator=500),
)


@given(maps, planes, st.integers(0, 40), st.integers(0, 40))
def test_a_crop_asks_the_map_at_the_middle_of_each_pixel(
    quality: QualityMap, plane: WorkingPlane, w_x: int, w_y: int
) -> None:
    crop = quality.crop(("ink", "blur"), Box(w_x, w_y, 12, 9), plane)
    assert crop.shape == (9, 12)
    rows, columns = quality.labels.shape
    for row in range(9):
        for column in range(12):
            x = min(int((w_x + column + Fraction(1, 2)) * plane.scale_x / quality.l0_per_px_x), columns - 1)
            y = min(int((w_y + row + Fraction(1, 2)) * plane.scale_y / quality.l0_per_px_y), rows - 1)
            assert crop[row, column] == (quality.labels[y, x] in (INK, BLUR))


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 1 + max(INK, FOLD, BLUR), (37, 53), np.uint8)
    QualityMap(labels, Fraction(50, 3), Fraction(16)).save(tmp_path / "quality.png")
    loaded = QualityMap.load(tmp_path / "quality.png")
    np.testing.assert_array_equal(loaded.labels, labels)
    assert (loaded.l0_per_px_x, loaded.l0_per_px_y) == (Fraction(50, 3), Fraction(16))
