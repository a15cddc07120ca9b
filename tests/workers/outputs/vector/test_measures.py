"""Measures of shapes by their corners against what scikit-image measures of their pixels."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import perimeter_crofton, regionprops

from workers.outputs.vector.components import Tracer
from workers.outputs.vector.contours import IN_NE, IN_NW, IN_SE, IN_SW, Shapes, pack
from workers.outputs.vector.measures import measure
from workers.outputs.vector.runs import RunSums

UInt8 = NDArray[np.uint8]


def check(labels: UInt8) -> None:
    tracer = Tracer(labels.shape[1])
    first = tracer.feed(labels, RunSums.of(labels, (labels,)))
    for shapes in (first, tracer.finish()):
        found = measure(shapes)
        for index in range(len(shapes)):
            corner = shapes.corners[shapes.offsets[index]]
            y, x = divmod(int(corner >> 3), 1 << 30)
            mask = flooded(labels, y, x)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                [theirs] = regionprops(mask.astype(np.int32))
            assert shapes.pixels[index] == theirs.area
            box = (found.y0[index], found.x0[index], found.y1[index], found.x1[index])
            assert box == theirs.bbox
            assert (found.y[index] - 0.5, found.x[index] - 0.5) == pytest.approx(theirs.centroid)
            perimeter = perimeter_crofton(np.pad(mask, 1), directions=4)
            assert found.perimeter[index] == pytest.approx(perimeter)
            assert found.circularity[index] == pytest.approx(min(1, 4 * np.pi * theirs.area / perimeter**2))
            axes = (theirs.axis_major_length, theirs.axis_minor_length)
            assert (found.major[index], found.minor[index]) == pytest.approx(axes, abs=1e-5)


def flooded(labels: UInt8, y: int, x: int) -> NDArray[np.bool_]:
    pieces, _ = ndimage.label(labels == labels[y, x])
    mask: NDArray[np.bool_] = pieces == pieces[y, x]
    return mask


def test_single_pixels_and_hard_places() -> None:
    pictures = ["1"], ["11.", "1.1", "111"], ["11111", "1.111", "11.11", "11111"], ["11111", "1...1", "1.2.1"]
    for picture in pictures:
        labels = np.array([[0 if sign == "." else int(sign) for sign in row] for row in picture], np.uint8)
        for turned in (labels, labels.T, labels[::-1], labels[:, ::-1]):
            check(np.ascontiguousarray(turned))


@given(
    st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
        lambda shape: npst.arrays(np.uint8, shape, elements=st.integers(0, 2))
    )
)
def test_measures_are_those_of_the_pixels(labels: UInt8) -> None:
    check(labels)


def test_a_shape_far_away_and_as_large_as_a_slide_keeps_its_digits() -> None:
    x0, y0, width, height = 900_000, 700_000, 200_001, 100_000
    corners = [(y0, x0, IN_SE), (y0, x0 + width, IN_SW), (y0 + height, x0, IN_NE), (y0 + height, x0 + width, IN_NW)]
    packed = np.array([int(pack(np.int64(y), np.int64(x), kind)) for y, x, kind in corners])  # type: ignore[arg-type]
    pixels = np.array([width * height])
    found = measure(Shapes(np.ones(1, np.uint8), pixels, pixels[np.newaxis], packed, np.array([0, 4])))
    assert (found.x[0], found.y[0]) == (x0 + width / 2, y0 + height / 2)
    assert found.major[0] == pytest.approx(4 * np.sqrt((width**2 - 1) / 12), rel=1e-9)
    assert found.minor[0] == pytest.approx(4 * np.sqrt((height**2 - 1) / 12), rel=1e-9)
