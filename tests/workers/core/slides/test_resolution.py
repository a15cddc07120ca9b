import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.errors.base import MppMissing, MppOutOfRange
from workers.core.schemas import SlideGeometry, SlideLevel
from workers.core.slides.resolution import is_plausible, resolve_mpp


def geometry(mpp_x: float | None, mpp_y: float | None, side: int = 1000) -> SlideGeometry:
    level = SlideLevel(width=side, height=side, downsample=1)
    return SlideGeometry(l0_width=side, l0_height=side, mpp_x=mpp_x, mpp_y=mpp_y, levels=(level,))


def test_the_slides_own_numbers_are_taken_axis_by_axis() -> None:
    assert resolve_mpp(geometry(0.25, 0.26), None, 0.5) == (0.25, 0.26, "metadata")


def test_the_request_wins_over_the_slide() -> None:
    assert resolve_mpp(geometry(0.25, 0.25), 0.4, 0.5) == (0.4, 0.4, "request")


@pytest.mark.parametrize("mpp", [None, 352.8, 0.001, math.nan, math.inf, -1.0, 0.0])
def test_missing_and_implausible_metadata_are_missing(mpp: float | None) -> None:
    with pytest.raises(MppMissing):
        resolve_mpp(geometry(mpp, 0.5), None, 0.5)
    with pytest.raises(MppMissing):
        resolve_mpp(geometry(0.5, mpp), None, 0.5)


@pytest.mark.parametrize("mpp", [0.019, 50.1, math.nan, math.inf])
def test_an_implausible_request_is_out_of_range(mpp: float) -> None:
    with pytest.raises(MppOutOfRange) as caught:
        resolve_mpp(geometry(0.5, 0.5), mpp, 0.5)
    assert caught.value.accepted == "mpp from 0.02 to 50.0 µm per pixel"


@pytest.mark.parametrize(("mpp", "fits"), [(1.0, True), (1.0001, False)])
def test_a_slide_may_be_twice_as_coarse_as_the_model_and_no_more(mpp: float, fits: bool) -> None:
    if fits:
        assert resolve_mpp(geometry(mpp, mpp), None, 0.5)[0] == mpp
    else:
        with pytest.raises(MppOutOfRange):
            resolve_mpp(geometry(mpp, mpp), None, 0.5)


def test_a_slide_of_exactly_one_working_pixel_fits_and_a_pixel_less_does_not() -> None:
    # In hundredths of µm the sums are whole numbers. Floats lose some: 3 * 0.15 is less than 0.45.
    for side in range(2, 60):
        for hundredths in range(2, 100):
            mpp, model_mpp = hundredths / 100, side * hundredths / 100
            assert resolve_mpp(geometry(mpp, mpp, side), None, model_mpp) == (mpp, mpp, "metadata")
            with pytest.raises(MppOutOfRange):
                resolve_mpp(geometry(mpp, mpp, side - 1), None, model_mpp)


def test_a_slide_smaller_than_one_working_pixel_is_refused() -> None:
    assert resolve_mpp(geometry(0.25, 0.25, side=2), None, 0.5) == (0.25, 0.25, "metadata")
    with pytest.raises(MppOutOfRange):
        resolve_mpp(geometry(0.25, 0.25, side=1), None, 0.5)


@given(st.floats(), st.floats(), st.one_of(st.none(), st.floats()))
def test_what_comes_out_is_plausible_whatever_goes_in(mpp_x: float, mpp_y: float, asked: float | None) -> None:
    try:
        found_x, found_y, source = resolve_mpp(geometry(mpp_x, mpp_y), asked, 0.5)
    except (MppMissing, MppOutOfRange):
        return
    assert is_plausible(found_x)
    assert is_plausible(found_y)
    assert max(found_x, found_y) <= 1.0
    assert source == ("metadata" if asked is None else "request")
