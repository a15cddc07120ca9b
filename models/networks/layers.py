"""Blocks shared by the networks. None of their norms couples distant places, once trained."""

import math
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.networks.sizes import Norm

# Running statistics cover about fifty steps: near to what the averaged weights, that are shipped, see.
MOMENTUM: Final = 0.02
_SINUSOIDS: Final = 64
_LONGEST: Final = 10_000


class PixelNorm(nn.LayerNorm):
    """LayerNorm over the channels of each pixel of (N, C, H, W): no statistic crosses pixels."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise; shape kept."""
        x = functional.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


def norm_layer(width: int, kind: Norm) -> nn.Module:
    """Norm of `width` channels: per pixel, or batch norm: one fixed factor and offset a channel, once trained."""
    return PixelNorm(width) if kind == "pixel" else nn.BatchNorm2d(width, momentum=MOMENTUM)


class StepEmbedding(nn.Module):
    """Timestep (N,) → (N, width): sinusoids and two linear layers.

    Numbers and names of tensors are those of diffusers' `Timesteps` and `TimestepEmbedding`; to import them takes a
    worker longer than all else that it imports for its model.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.ModuleDict({"linear_1": nn.Linear(_SINUSOIDS, width), "linear_2": nn.Linear(width, width)})

    def forward(self, t: Tensor) -> Tensor:
        """Embed."""
        embedded: Tensor = self.mlp["linear_2"](functional.silu(self.mlp["linear_1"](sinusoids(t))))
        return embedded


def sinusoids(t: Tensor) -> Tensor:
    """Timestep (N,) → (N, 64) float32: cosines, then sines, of wavelengths from 2π up to 20000π in even ratios."""
    count = _SINUSOIDS // 2
    exponents = -math.log(_LONGEST) * torch.arange(count, dtype=torch.float32, device=t.device) / count
    angles = t.float()[:, None] * exponents.exp()
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class Block(nn.Module):
    """Residual block: depthwise 5x5, norm, optional timestep scale and shift, two pointwise layers.

    Args:
        width: Channels in and out.
        embedding: Width of the timestep embedding; None for a block that knows no step.
        norm: Kind of the norm.
    """

    def __init__(self, width: int, embedding: int | None = None, norm: Norm = "pixel") -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.norm = norm_layer(width, norm)
        self.expand = nn.Conv2d(width, 2 * width, 1)
        self.project = nn.Conv2d(2 * width, width, 1)
        self.modulate = None if embedding is None else nn.Linear(embedding, 2 * width)
        # Residual branches start small, as in ConvNeXt's layer scale.
        self.gain = nn.Parameter(torch.full((1, width, 1, 1), 0.1))

    def forward(self, x: Tensor, step: Tensor | None = None) -> Tensor:
        """x (N, C, H, W), step (N, embedding) or None → (N, C, H, W)."""
        h: Tensor = self.norm(self.depthwise(x))
        if self.modulate is not None:
            if step is None:
                raise ValueError("this block needs a timestep embedding")
            scale, shift = self.modulate(step)[:, :, None, None].chunk(2, dim=1)
            h = h * (1 + scale) + shift
        h = self.project(functional.gelu(self.expand(h)))
        return x + self.gain * h


class Stack(nn.ModuleList):
    """`depth` blocks one after the other, all given the same timestep embedding."""

    def __init__(self, width: int, embedding: int, depth: int, norm: Norm = "pixel") -> None:
        super().__init__(Block(width, embedding, norm) for _ in range(depth))

    def forward(self, x: Tensor, step: Tensor) -> Tensor:
        """x (N, C, H, W), step (N, embedding) → (N, C, H, W)."""
        for block in self:
            x = block(x, step)
        return x
