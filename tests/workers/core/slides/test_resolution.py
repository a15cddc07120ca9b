import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.errors.base import MppImplausible, MppMissing, MppOutOfRange
from workers.core.slide_schemas import SlideGeometry, SlideLevel
from workers.core.slides.geometry import Mpp, Resolution, geometry_from, mpp_of
from workers.core.slides.resolution import is_plausible, resolve_mpp


def geometry(mpp_x: float | None, mpp_y: float | None, side: int = 1000) -> SlideGeometry:
    level = SlideLevel(width=side, height=side, downsample=1)
    return SlideGeometry(l0_width=side, l0_height=side, mpp_x=mpp_x, mpp_y=mpp_y, levels=(level,))


def stated(mpp: Mpp | None, power: float | None = None) -> SlideGeometry:
    """Return the geometry of a slide whose file says this."""
    return geometry_from([SlideLevel(width=1000, height=1000, downsample=1)], Resolution(mpp, "tiff", power))


def test_the_slides_own_numbers_are_taken_axis_by_axis() -> None:
    assert resolve_mpp(geometry(0.25, 0.26), None, 0.5) == (0.25, 0.26, "metadata")


def test_the_request_wins_over_the_slide() -> None:
    assert resolve_mpp(geometry(0.25, 0.25), 0.4, 0.5) == (0.4, 0.4, "request")


@pytest.mark.parametrize("raw", [None, "no number", math.nan, math.inf, -1.0, 0.0])
def test_half_a_resolution_is_missing(raw: object) -> None:
    for mpp in (mpp_of(raw, 0.5), mpp_of(0.5, raw)):
        with pytest.raises(MppMissing):
            resolve_mpp(stated(mpp), None, 0.5)


@pytest.mark.parametrize("mpp", [352.8, 0.025, 0.049, 100.1])
def test_what_no_scanner_makes_is_refused_with_its_value(mpp: float) -> None:
    for both in ((mpp, 0.5), (0.5, mpp)):
        with pytest.raises(MppImplausible, match="which no scanner makes") as caught:
            resolve_mpp(stated(both), None, 0.5)
        assert str(caught.value.value) == f"{both[0]:g} x {both[1]:g}"
        assert resolve_mpp(stated(both), 0.25, 0.5) == (0.25, 0.25, "request")


@pytest.mark.parametrize(
    ("power", "said"), [(40.0, "0.25 is usual at 40x"), (20.0, "0.5 is"), (10.0, "1.0"), (63.0, "for example 0.5")]
)
def test_an_objective_power_suggests_a_resolution_and_gives_none(power: float, said: str) -> None:
    with pytest.raises(MppMissing) as caught:
        resolve_mpp(stated(None, power), None, 0.5)
    assert said in str(caught.value.accepted)


@pytest.mark.parametrize("mpp", [0.049, 100.1, math.nan, math.inf])
def test_an_implausible_request_is_refused(mpp: float) -> None:
    with pytest.raises(MppImplausible) as caught:
        resolve_mpp(geometry(0.5, 0.5), mpp, 0.5)
    assert caught.value.accepted == "mpp from 0.05 to 100.0 µm per pixel"


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
        found_x, found_y, source = resolve_mpp(stated(mpp_of(mpp_x, mpp_y)), asked, 0.5)
    except (MppMissing, MppImplausible, MppOutOfRange):
        return
    assert is_plausible(found_x)
    assert is_plausible(found_y)
    assert max(found_x, found_y) <= 1.0
    assert source == ("metadata" if asked is None else "request")
