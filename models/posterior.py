"""The exact posterior q(x_{t'} | x_t, x_0) of Laplace marginals (Eq. 14, without the sign assumption of Eq. 15).

Per element its density is proportional to exp(−w₁|x−k₁| − w₂|x−k₂|): exponential left of, between and right of two
kinks. Masses, mean, mode and quantiles are closed forms. All are written from the heavier kink's side, so that no
exponential overflows however far the kinks are apart, and equal weights need no special case.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_TINY = 1e-30


def _phi(x: Tensor) -> Tensor:
    """(1 − e^{−x})/x for x ≥ 0, 1 at 0."""
    safe = x.clamp_min(1e-4)
    return torch.where(x < 1e-4, 1 - x / 2, -torch.expm1(-safe) / safe)


def _mean_fraction(x: Tensor) -> Tensor:
    """Mean of the density e^{−xu} on u in [0, 1]: 1/x − 1/(e^x − 1), ½ at 0."""
    safe = x.clamp_min(1e-2)
    return torch.where(x < 1e-2, 0.5 - x / 12, 1 / safe - 1 / torch.expm1(safe.clamp_max(80.0)))


@dataclass(frozen=True)
class PiecewiseExponential:
    """A density exp(−w₁|x−k₁| − w₂|x−k₂|)/Z, element by element; all four tensors broadcast together."""

    k1: Tensor
    w1: Tensor
    k2: Tensor
    w2: Tensor

    def _parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Heavier kink h, signed way to the lighter one, distance d, w_h + w_l, (w_h − w_l)·d, share terms' scale."""
        heavy_first = self.w1 >= self.w2
        heavy = torch.where(heavy_first, self.k1, self.k2)
        light = torch.where(heavy_first, self.k2, self.k1)
        total = self.w1 + self.w2
        way = light - heavy
        distance = way.abs()
        return heavy, torch.sign(way), distance, total, (self.w1 - self.w2).abs() * distance, way

    def _masses(self) -> tuple[Tensor, Tensor, Tensor]:
        """Probabilities of: beyond the heavier kink, between the kinks, beyond the lighter kink."""
        _, _, distance, total, x, _ = self._parts()
        beyond_heavy = 1 / total
        between = distance * _phi(x)
        beyond_light = torch.exp(-x) / total
        z = beyond_heavy + between + beyond_light
        return beyond_heavy / z, between / z, beyond_light / z

    def mean(self) -> Tensor:
        """Return the expectation."""
        heavy, side, distance, total, x, _ = self._parts()
        p_heavy, p_between, p_light = self._masses()
        # Distances are measured from the heavier kink, positive towards the lighter one.
        offset = -p_heavy / total + p_between * distance * _mean_fraction(x) + p_light * (distance + 1 / total)
        # Kinks that coincide have no direction and a symmetric density: the offset is 0 either way.
        return heavy + side * offset

    def mode(self) -> Tensor:
        """Return the kink with the larger weight."""
        return self._parts()[0]

    def icdf(self, p: Tensor) -> Tensor:
        """Return the quantiles at probabilities `p` in (0, 1), measured along the direction heavier → lighter kink."""
        heavy, side, distance, total, x, _ = self._parts()
        p_heavy, p_between, p_light = self._masses()
        before = (p / p_heavy.clamp_min(_TINY)).clamp(_TINY, 1).log() / total
        v = ((p - p_heavy) / p_between.clamp_min(_TINY)).clamp(0, 1)
        safe = x.clamp_min(1e-4)
        curved = -torch.log1p(v * torch.expm1(-safe)) / safe
        inside = distance * torch.where(x < 1e-4, v, curved).clamp(0, 1)
        after = distance - ((1 - p) / p_light.clamp_min(_TINY)).clamp(_TINY, 1).log() / total
        offset = torch.where(p < p_heavy, before, torch.where(p < p_heavy + p_between, inside, after))
        # Where the kinks coincide the density is symmetric: any fixed direction serves.
        return heavy + torch.where(side == 0, torch.ones_like(side), side) * offset
