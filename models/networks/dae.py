"""The denoising decoder (DAE): a latent estimate back to an RGB image r_t (section 4)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.networks.layers import Stack, StepEmbedding, norm_layer
from models.networks.sizes import Norm

# ITU-R BT.601 luma: the paper's RGB2Gray.
_LUMA = (0.299, 0.587, 0.114)


class Decoder(nn.Module):
    """(ẑ_0, t) → r_t in [−1, 1]. All blocks work at latent resolution; a pixel shuffle ends it.

    r_t is an image and is bounded as one: the contrastive loss looks at directions only, and an unbounded decoder
    answers it by growing without limit.

    Args:
        latent_channels: C.
        stride: f.
        width: Channels of the blocks.
        depth: Number of blocks.
        norm: Kind of the norms.
    """

    def __init__(self, latent_channels: int, stride: int, width: int, depth: int, norm: Norm = "pixel") -> None:
        super().__init__()
        self.stride = stride
        self.embed = StepEmbedding(width)
        self.stem = nn.Conv2d(latent_channels, width, 3, padding=1)
        self.blocks = Stack(width, width, depth, norm)
        self.norm = norm_layer(width, norm)
        self.out = nn.Conv2d(width, 3 * stride * stride, 3, padding=1)

    def forward(self, z: Tensor, t: Tensor) -> Tensor:
        """z (N, C, h, w), t (N,) → (N, 3, f·h, f·w)."""
        step = functional.silu(self.embed(t))
        h = self.blocks(self.stem(z), step)
        h = self.out(functional.gelu(self.norm(h)))
        return torch.tanh(functional.pixel_shuffle(h, self.stride))


def to_grey(rgb: Tensor) -> Tensor:
    """RGB (N, 3, H, W) → grey (N, H, W)."""
    weights = rgb.new_tensor(_LUMA)
    return torch.einsum("nchw,c->nhw", rgb, weights)
