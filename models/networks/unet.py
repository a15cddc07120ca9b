"""The noise predictor ε_θ(z_t, t): a U-Net at latent resolution, no attention over space."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.networks.layers import Stack, StepEmbedding, norm_layer
from models.networks.sizes import Norm


class UNet(nn.Module):
    """(z_t, t) → ε̂, and log b_θ behind it where the scale is predicted too (Eq. 12).

    Args:
        channels: C of the latent.
        widths: Channels per resolution, finest first; each further one halves the resolution.
        depth: Blocks per resolution on each way.
        predict_scale: 2C channels come out: ε̂, then an unbounded log b_θ.
        norm: Kind of the norms.
    """

    def __init__(
        self,
        channels: int,
        widths: Sequence[int],
        depth: int,
        *,
        predict_scale: bool = False,
        norm: Norm = "pixel",
    ) -> None:
        super().__init__()
        embedding = 2 * widths[0]
        self.embed = StepEmbedding(embedding)
        self.stem = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList(Stack(width, embedding, depth, norm) for width in widths)
        self.shrink = nn.ModuleList(
            nn.Sequential(norm_layer(fine, norm), nn.Conv2d(fine, coarse, 2, stride=2))
            for fine, coarse in pairwise(widths)
        )
        self.grow = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in pairwise(widths))
        self.merge = nn.ModuleList(nn.Conv2d(2 * width, width, 1) for width in widths[:-1])
        self.up = nn.ModuleList(Stack(width, embedding, depth, norm) for width in widths[:-1])
        self.norm = norm_layer(widths[0], norm)
        self.out = nn.Conv2d(widths[0], 2 * channels if predict_scale else channels, 3, padding=1)

    def forward(self, z: Tensor, t: Tensor) -> Tensor:
        """z (N, C, h, w), t (N,) → (N, C, h, w), with scale (N, 2C, h, w); h and w multiples of 2^(levels − 1)."""
        step = functional.silu(self.embed(t))
        h = self.stem(z)
        skips = []
        for level, blocks in enumerate(self.down):
            h = blocks(h, step)
            if level < len(self.shrink):
                skips.append(h)
                h = self.shrink[level](h)
        for level in reversed(range(len(self.up))):
            # Nearest up-sampling of a 1x1-mixed map keeps the stride grid; the blocks after it smooth.
            h = functional.interpolate(self.grow[level](h), scale_factor=2.0, mode="nearest")
            h = self.merge[level](torch.cat([h, skips[level]], dim=1))
            h = self.up[level](h, step)
        noise: Tensor = self.out(functional.silu(self.norm(h)))
        return noise
