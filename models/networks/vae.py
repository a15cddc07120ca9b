"""The compact encoder: RGB to a latent at a quarter of the resolution (section 5, "Models and Parameters")."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.networks.layers import Block, PixelNorm


@dataclass(frozen=True)
class LatentGaussian:
    """The encoder's answer: a Gaussian per latent element, (N, C, H/f, W/f) each."""

    mean: Tensor
    logvar: Tensor

    def sample(self, generator: torch.Generator) -> Tensor:
        """Draw one latent (training of stage 0 only; inference takes the mean)."""
        noise = torch.randn(self.mean.shape, generator=generator, device=generator.device)
        return self.mean + torch.exp(0.5 * self.logvar) * noise.to(self.mean.device)

    def kl(self) -> Tensor:
        """Return KL(q || N(0, I)), averaged over elements."""
        return 0.5 * (self.mean.square() + self.logvar.exp() - 1 - self.logvar).mean()


class Encoder(nn.Module):
    """Space-to-depth, residual blocks at latent resolution, mean and log-variance.

    `models.networks.diffusers_vae` is the other encoder: same answer, same `scale`, but `frozen`.

    Args:
        latent_channels: C.
        stride: f, the latent's px in working px.
        width: Channels of the blocks.
        depth: Number of blocks.
    """

    scale: Tensor
    # Stage 0 trains it.
    frozen = False

    def __init__(self, latent_channels: int, stride: int, width: int, depth: int) -> None:
        super().__init__()
        self.stride = stride
        self.stem = nn.Conv2d(3 * stride * stride, width, 3, padding=1)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(depth)))
        self.norm = PixelNorm(width)
        self.out = nn.Conv2d(width, 2 * latent_channels, 1)
        # 1/std of the latent mean over the training images: z_0 = mean × scale has unit variance.
        self.register_buffer("scale", torch.ones(()))

    def forward(self, x: Tensor) -> LatentGaussian:
        """x (N, 3, H, W) in [−1, 1], H and W multiples of f."""
        h = self.stem(functional.pixel_unshuffle(x, self.stride))
        mean, logvar = self.out(self.norm(self.blocks(h))).chunk(2, dim=1)
        return LatentGaussian(mean, logvar.clamp(-12, 4))
