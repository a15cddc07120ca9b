"""Noise laws at unit scale, and the coordinate-keyed noise field that inference draws from.

Laplace, Gaussian and Student's t are scaled to unit variance, so that a schedule means the same for all of them
(a Laplace law of scale b has variance 2b², hence b = 1/√2). Cauchy has no variance: unit scale, clipped. The law
`laplace_b1` is the Laplace law of b = 1, thus variance 2, which the authors' published code draws: for comparison only.
"""

import math
from typing import Final

import torch
from torch import Tensor

from models.config import NoiseLaw

LAPLACE_SCALE: Final = 1 / math.sqrt(2)
CAUCHY_CLIP: Final = 20.0
# Student's t has a closed-form quantile for ν = 4, and a variance (2, divided out below).
STUDENT_NU: Final = 4

_QUANTILES: Final = 2**16
_MASK: Final = 0xFFFFFFFF


def quantile(law: NoiseLaw, p: Tensor) -> Tensor:
    """Inverse CDF of a law at unit scale.

    Args:
        law: Name of the law.
        p: Probabilities in (0, 1), any shape, float.

    Returns:
        Same shape and dtype as `p`.
    """
    if law == "laplace":
        return -LAPLACE_SCALE * torch.sign(p - 0.5) * torch.log1p(-2 * (p - 0.5).abs())
    if law == "laplace_b1":
        return quantile("laplace", p) / LAPLACE_SCALE
    if law == "gaussian":
        normal: Tensor = torch.special.ndtri(p)
        return normal
    if law == "student_t":
        alpha = 4 * p * (1 - p)
        root = alpha.sqrt()
        q = torch.cos(torch.arccos(root) / 3) / root
        return torch.sign(p - 0.5) * 2 * (q - 1).clamp_min(0).sqrt() / math.sqrt(2)
    if law == "cauchy":
        return torch.tan(math.pi * (p - 0.5)).clamp(-CAUCHY_CLIP, CAUCHY_CLIP)
    raise ValueError(f"unknown noise law {law!r}; known: laplace, laplace_b1, gaussian, student_t, cauchy")


def sample(law: NoiseLaw, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw independent noise for training, on the generator's device, float32."""
    # float64 uniforms keep the tails: float32 cannot tell probabilities near 1 apart.
    p = torch.rand(shape, generator=generator, dtype=torch.float64, device=generator.device)
    return quantile(law, p.clamp(1e-12, 1 - 1e-12)).float()


def _mix(h: Tensor) -> Tensor:
    """Finalise 32-bit words held in int64 (the avalanche of MurmurHash3); wrap-around keeps the low 32 bits exact."""
    h = ((h ^ (h >> 16)) * 0x85EBCA6B) & _MASK
    h = ((h ^ (h >> 13)) * 0xC2B2AE35) & _MASK
    return h ^ (h >> 16)


class NoiseField:
    """Noise as a function of (seed, latent row, latent column, channel, step), not of a generator's state.

    Integer arithmetic and a table make it bit-equal on every device, in every batch and for every tile that covers a
    place. The table holds the law's quantiles at the 2¹⁶ mid-points of equal probability.

    Args:
        law: Name of the law.
        seed: 0 ≤ seed < 2³¹.
    """

    def __init__(self, law: NoiseLaw, seed: int) -> None:
        self.seed = seed
        midpoints = (torch.arange(_QUANTILES, dtype=torch.float64) + 0.5) / _QUANTILES
        self._table = quantile(law, midpoints).float()

    def _words(self, row: int, col: int, shape: tuple[int, int, int], step: int, device: torch.device) -> Tensor:
        channels, height, width = shape
        rows = torch.arange(row, row + height, dtype=torch.int64, device=device) & _MASK
        cols = torch.arange(col, col + width, dtype=torch.int64, device=device) & _MASK
        chans = torch.arange(channels, dtype=torch.int64, device=device)
        key = _mix(torch.tensor((self.seed * 0x9E3779B1 + step * 0x7FEB352D + 0x165667B1) & _MASK, device=device))
        place = _mix(_mix(key ^ rows)[:, None] ^ ((cols * 0x9E3779B1) & _MASK)[None, :])
        return _mix(place[None] ^ ((chans * 0x846CA68B + 0x27D4EB2F) & _MASK)[:, None, None])

    def draw(
        self, row: int, col: int, shape: tuple[int, int, int], step: int, device: torch.device | None = None
    ) -> Tensor:
        """Return the field over a box of the working plane's latent grid.

        Args:
            row: First latent row; may be negative.
            col: First latent column; may be negative.
            shape: (C, h, w) in latent px.
            step: The timestep t, not its position in the sequence.
            device: Where to compute; the CPU if not given.

        Returns:
            (C, h, w) float32.
        """
        where = device or torch.device("cpu")
        if self._table.device != where:
            self._table = self._table.to(where)
        return self._table[self._words(row, col, shape, step, where) >> 16]

    def uniforms(
        self, row: int, col: int, shape: tuple[int, int, int], step: int, device: torch.device | None = None
    ) -> Tensor:
        """Return probabilities in (0, 1), (C, h, w) float32, independent of `draw` at the same place."""
        words = self._words(row, col, shape, step + (1 << 20), device or torch.device("cpu"))
        return ((words >> 8).float() + 0.5) * 2.0**-24
