"""The downsample of a level: whole where sizes say so, declared where they are padded, none where nothing fits."""

from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from workers.core.slides.level_factor import level_factor

TILE = (256, 256)


@given(width=st.integers(600, 90_000), height=st.integers(600, 90_000), k=st.integers(1, 5), up=st.booleans())
def test_halved_sizes_give_a_power_of_two(width: int, height: int, k: int, up: bool) -> None:
    step = 2**k
    level = (-(-width // step), -(-height // step)) if up else (width // step, height // step)
    assume(min(level) > 20)
    factor = level_factor((width, height), level, TILE)
    assert factor is not None
    assert (factor.downsample, factor.size, factor.is_padded) == (step, level, False)


@given(width=st.integers(2000, 90_000), height=st.integers(2000, 90_000), k=st.integers(1, 4))
def test_a_padded_level_has_the_declared_downsample_and_its_true_size(width: int, height: int, k: int) -> None:
    step = 2**k
    true = -(-width // step), -(-height // step)
    padded = tuple(-(-length // 256) * 256 for length in true)
    assume(abs(padded[0] / width - padded[1] / height) * max(true) > 8)  # else the ratio of sizes explains it
    factor = level_factor((width, height), (padded[0], padded[1]), TILE, Fraction(step))
    assert factor is not None
    assert (factor.downsample, factor.size, factor.is_padded) == (step, true, padded != true)


@pytest.mark.parametrize(
    ("level", "declared"),
    [((550, 750), None), ((550, 750), Fraction(2)), ((750, 300), None), ((768, 768), Fraction(3)), ((768, 1024), None)],
)
def test_a_level_that_fits_nothing_has_no_downsample(level: tuple[int, int], declared: Fraction | None) -> None:
    assert level_factor((1500, 1100), level, TILE, declared) is None


def test_a_declared_downsample_goes_before_the_ratio_of_sizes_that_are_padded_alike() -> None:
    factor = level_factor((2000, 20532), (1024, 10496), TILE, Fraction(2))
    assert factor is not None
    assert factor == (Fraction(2), (1000, 10266), True)
