"""Sizes in the headers of codestreams, against the encoders of imagecodecs."""

from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from workers.core.errors.base import SlideUnreadable
from workers.core.slides.tiff.codestream import READERS, check_size, jpeg_is_ycbcr

Encode = Callable[[NDArray[np.uint8]], bytes | bytearray]
ENCODERS: list[tuple[int, Encode]] = [
    (34933, imagecodecs.png_encode),
    (7, imagecodecs.jpeg8_encode),
    (34712, lambda pixels: imagecodecs.jpeg2k_encode(pixels, codecformat="j2k")),
    (33003, lambda pixels: imagecodecs.jpeg2k_encode(pixels, codecformat="jp2")),
    (50001, lambda pixels: imagecodecs.webp_encode(pixels, level=80)),
    (34927, lambda pixels: imagecodecs.webp_encode(pixels, lossless=True)),
    (50002, imagecodecs.jpegxl_encode),
]


@settings(max_examples=25)
@given(width=st.integers(1, 600), height=st.integers(1, 600), square=st.booleans())
@pytest.mark.parametrize(("compression", "encode"), ENCODERS)
def test_a_header_says_the_size_that_was_encoded(
    compression: int, encode: Encode, width: int, height: int, square: bool
) -> None:
    height = width if square else height  # JPEG XL has a shorter form for ratios of sides
    data = bytes(encode(np.full((height, width, 3), 90, np.uint8)))
    assert READERS[compression](data[:4096]) == (width, height)
    check_size(compression, data, width, height, is_whole=True)
    with pytest.raises(SlideUnreadable, match="another size"):
        check_size(compression, data, width + 1, height)


def test_what_says_no_size_is_refused_when_it_is_all_there() -> None:
    check_size(7, b"\xff\xd8\xff", 256, 256)
    with pytest.raises(SlideUnreadable) as refused:
        check_size(7, b"\xff\xd8\xff", 256, 256, is_whole=True)
    assert refused.value.value == "no size"
    check_size(1, b"any bytes", 256, 256, is_whole=True)


@pytest.mark.parametrize(
    ("options", "is_ycbcr"),
    [
        ({}, True),
        ({"subsampling": "444"}, True),
        ({"subsampling": "420"}, True),
        ({"colorspace": "rgb", "outcolorspace": "rgb"}, False),
    ],
)
def test_a_jpeg_says_whether_it_is_ycbcr(options: dict[str, Any], is_ycbcr: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)
    data = bytes(imagecodecs.jpeg8_encode(pixels, **options))
    assert jpeg_is_ycbcr(data) is is_ycbcr
    jfif = data.find(b"JFIF")
    if jfif > 0:  # without the segment only subsampling tells
        bare = data[: jfif - 4] + data[jfif + 14 :]
        assert jpeg_is_ycbcr(bare) is (None if options.get("subsampling") == "444" else True)
    adobe = data.find(b"Adobe")
    if adobe > 0:  # and without Adobe's the names of the components
        assert jpeg_is_ycbcr(data[: adobe - 4] + data[adobe + 12 :]) is False
    assert jpeg_is_ycbcr(b"") is None
