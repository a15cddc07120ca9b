"""The two-kink posterior against quadrature, and its samples against its distribution."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import integrate, stats

from models.posterior import PiecewiseExponential

# k1, w1, k2, w2: kinks either way round, equal, near-equal and far-apart weights, coinciding and distant kinks.
CASES = [
    (0.0, 2.0, 1.0, 3.0),
    (1.0, 2.0, 0.0, 3.0),
    (1.0, 3.0, 0.0, 2.0),
    (-0.5, 1.5, 0.7, 1.5),
    (-0.5, 1.5, 0.7, 1.5 + 1e-6),
    (0.3, 4.0, 0.3, 1.0),
    (-3.0, 10.0, 3.0, 12.0),
    (-2.0, 0.4, 5.0, 9.0),
]


def build(case: tuple[float, float, float, float]) -> PiecewiseExponential:
    return PiecewiseExponential(*(torch.tensor([v], dtype=torch.float64) for v in case))


def density(case: tuple[float, float, float, float], x: float) -> float:
    k1, w1, k2, w2 = case
    peak = min(w1, w2) * abs(k1 - k2)
    return float(np.exp(peak - w1 * abs(x - k1) - w2 * abs(x - k2)))


def quadrature(case: tuple[float, float, float, float], power: int, upper: float = np.inf) -> float:
    edges = [-60.0, *sorted({case[0], case[2]}), 60.0]
    edges = [e for e in edges if e < upper] + ([upper] if upper < 60 else [])
    return math.fsum(
        integrate.quad(lambda x: x**power * density(case, x), a, b, epsabs=1e-13, limit=200)[0]
        for a, b in pairwise(edges)
    )


@pytest.mark.parametrize("case", CASES)
def test_mean_is_the_quadratures(case: tuple[float, float, float, float]) -> None:
    expected = quadrature(case, 1) / quadrature(case, 0)
    assert build(case).mean().item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_mode_is_where_the_density_is_largest(case: tuple[float, float, float, float]) -> None:
    grid = np.array([case[0], case[2], *np.linspace(-6, 8, 2001)])
    best = max(density(case, float(x)) for x in grid)
    assert density(case, build(case).mode().item()) == pytest.approx(best)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("p", [0.001, 0.05, 0.3, 0.5, 0.8, 0.99])
def test_quantiles_invert_the_distribution(case: tuple[float, float, float, float], p: float) -> None:
    # Probabilities are measured from the heavier kink towards the lighter one: mirrored where that points left.
    heavy, light = (case[0], case[2]) if case[1] >= case[3] else (case[2], case[0])
    x = build(case).icdf(torch.tensor([p], dtype=torch.float64)).item()
    below = quadrature(case, 0, upper=x) / quadrature(case, 0)
    assert (below if light >= heavy else 1 - below) == pytest.approx(p, abs=1e-5)


def test_samples_follow_the_distribution() -> None:
    case = CASES[0]
    p = torch.rand(20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drawn = PiecewiseExponential(*(torch.full((20_000,), v, dtype=torch.float64) for v in case)).icdf(p).numpy()
    grid = np.linspace(-6, 8, 4001)
    cdf = np.cumsum([density(case, float(x)) for x in grid])

    def distribution(x: NDArray[np.float64]) -> NDArray[np.float64]:
        below: NDArray[np.float64] = np.interp(x, grid, cdf / cdf[-1])
        return below

    assert stats.kstest(drawn, distribution).statistic < 0.015


def test_mean_stays_in_the_hull_of_the_kinks_extended_by_one_over_s() -> None:
    generator = torch.Generator().manual_seed(4)
    k1, k2 = (10 * torch.randn(5000, generator=generator) for _ in range(2))
    w1, w2 = (torch.rand(5000, generator=generator) * 40 + 0.01 for _ in range(2))
    mean = PiecewiseExponential(k1, w1, k2, w2).mean()
    margin = 1 / (w1 + w2) + 1e-4
    assert bool((mean >= torch.minimum(k1, k2) - margin).all())
    assert bool((mean <= torch.maximum(k1, k2) + margin).all())


def test_far_kinks_and_heavy_weights_stay_finite() -> None:
    far = PiecewiseExponential(torch.tensor([-1e4]), torch.tensor([500.0]), torch.tensor([1e4]), torch.tensor([300.0]))
    for value in (far.mean(), far.mode(), far.icdf(torch.tensor([1e-7])), far.icdf(torch.tensor([1 - 1e-7]))):
        assert bool(torch.isfinite(value).all())
