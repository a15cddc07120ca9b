"""Noise laws against scipy, and the noise field against a literal integer oracle."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from models.config import NoiseLaw
from models.noise import CAUCHY_CLIP, NoiseField, quantile, sample

LAWS: tuple[NoiseLaw, ...] = ("laplace", "laplace_b1", "gaussian", "student_t", "cauchy")
ORACLE = {
    "laplace": stats.laplace(scale=1 / np.sqrt(2)),
    "laplace_b1": stats.laplace(scale=1.0),
    "gaussian": stats.norm(),
    "student_t": stats.t(df=4, scale=1 / np.sqrt(2)),
    "cauchy": stats.cauchy(),
}


@pytest.mark.parametrize("law", LAWS)
def test_quantile_is_scipys(law: NoiseLaw) -> None:
    p = torch.linspace(0.001, 0.999, 997, dtype=torch.float64)
    expected = np.clip(ORACLE[law].ppf(p.numpy()), -CAUCHY_CLIP, CAUCHY_CLIP)
    np.testing.assert_allclose(quantile(law, p).numpy(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("law", ["laplace", "gaussian", "student_t"])
def test_laws_with_a_variance_have_unit_variance(law: NoiseLaw) -> None:
    assert ORACLE[law].var() == pytest.approx(1.0)


@pytest.mark.parametrize("law", LAWS)
def test_training_noise_follows_its_law(law: NoiseLaw) -> None:
    drawn = sample(law, (4, 8, 32, 32), torch.Generator().manual_seed(1))
    inside = drawn[drawn.abs() < CAUCHY_CLIP].numpy().ravel()
    assert stats.kstest(inside, ORACLE[law].cdf).statistic < (0.04 if law == "cauchy" else 0.01)


def test_unknown_law_names_those_known() -> None:
    with pytest.raises(ValueError, match="known: laplace"):
        quantile("uniform", torch.tensor([0.5]))  # type: ignore[arg-type]


@given(
    row=st.integers(-(2**20), 2**20),
    col=st.integers(-(2**20), 2**20),
    down=st.integers(0, 6),
    right=st.integers(0, 6),
    seed=st.integers(0, 2**31 - 1),
)
def test_overlapping_boxes_see_the_same_noise(row: int, col: int, down: int, right: int, seed: int) -> None:
    field = NoiseField("laplace", seed)
    large = field.draw(row, col, (3, 12, 12), step=70)
    small = field.draw(row + down, col + right, (3, 5, 4), step=70)
    assert torch.equal(large[:, down : down + 5, right : right + 4], small)


def _literal_mix(h: int) -> int:
    h = ((h ^ (h >> 16)) * 0x85EBCA6B) % 2**32
    h = ((h ^ (h >> 13)) * 0xC2B2AE35) % 2**32
    return h ^ (h >> 16)


def test_field_is_the_hash_written_out_in_python_integers() -> None:
    seed, step, row, col = 2**31 - 1, 250, -7, 2**20
    drawn = NoiseField("gaussian", seed).draw(row, col, (2, 3, 4), step)
    key = _literal_mix((seed * 0x9E3779B1 + step * 0x7FEB352D + 0x165667B1) % 2**32)
    for c, i, j in np.ndindex(2, 3, 4):
        place = _literal_mix(_literal_mix(key ^ (row + i) % 2**32) ^ (((col + j) % 2**32) * 0x9E3779B1) % 2**32)
        word = _literal_mix(place ^ (c * 0x846CA68B + 0x27D4EB2F) % 2**32)
        expected = stats.norm.ppf(((word >> 16) + 0.5) / 2**16)
        assert drawn[c, i, j].item() == pytest.approx(expected, rel=1e-5)


def test_field_depends_on_seed_step_and_channel() -> None:
    field = NoiseField("laplace", 5)
    here = field.draw(0, 0, (2, 16, 16), step=10)
    assert not torch.equal(here, field.draw(0, 0, (2, 16, 16), step=70))
    assert not torch.equal(here, NoiseField("laplace", 6).draw(0, 0, (2, 16, 16), step=10))
    assert not torch.equal(here[0], here[1])


def test_field_follows_its_law_and_neighbours_are_independent() -> None:
    drawn = NoiseField("laplace", 3).draw(-128, 4096, (4, 256, 256), step=130)
    assert stats.kstest(drawn.numpy().ravel(), ORACLE["laplace"].cdf).statistic < 0.005
    assert drawn.var().item() == pytest.approx(1.0, abs=0.03)
    signs = drawn.sign()
    for shifted in (signs.roll(1, 0), signs.roll(1, 1), signs.roll(1, 2), signs.roll((1, 1), (1, 2))):
        assert abs((signs * shifted).mean().item()) < 0.01


def test_uniforms_lie_inside_and_differ_from_the_noise() -> None:
    field = NoiseField("laplace", 3)
    uniforms = field.uniforms(0, 0, (4, 128, 128), step=10)
    assert 0 < uniforms.min().item() < uniforms.max().item() < 1
    assert stats.kstest(uniforms.numpy().ravel(), "uniform").statistic < 0.01
    noise = field.draw(0, 0, (4, 128, 128), step=10)
    assert abs(torch.corrcoef(torch.stack([noise.flatten(), uniforms.flatten()]))[0, 1].item()) < 0.02
