"""diffusers' `AutoencoderKL` as the encoder, for people who have pretrained weights on disk.

Code of the network: diffusers (Apache-2.0), after Rombach et al., "High-Resolution Image Synthesis with Latent
Diffusion Models". Its group norms, and the attention in its middle, take statistics over space: every output depends
on the whole tile, the reach is unbounded, and no halo makes tiling exact (`LDiffusionConfig.exact_tiling`).
"""

import models.torch_compat  # noqa: F401  (before diffusers)

import torch
from diffusers.models.autoencoders.vae import Encoder
from torch import Tensor, nn

from models.networks.sizes import VaeConfig
from models.networks.vae import LatentGaussian


class DiffusersEncoder(nn.Module):
    """RGB to a latent: the encoder half of an `AutoencoderKL` and its `quant_conv`, by the same names. Never trained.

    Args:
        config: Sizes, scaling and shift.

    Raises:
        ValueError: A block type or activation is none that diffusers knows.
    """

    scale: Tensor
    shift: Tensor
    # Pretrained on far more images than stage 0 sees.
    frozen = True

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        self.encoder = Encoder(
            in_channels=3,
            out_channels=config.latent_channels,
            down_block_types=config.down_block_types,
            block_out_channels=config.block_out_channels,
            layers_per_block=config.layers_per_block,
            norm_num_groups=config.norm_num_groups,
            act_fn=config.act_fn,
            mid_block_add_attention=config.mid_block_add_attention,
        )
        moments = 2 * config.latent_channels
        self.quant_conv = nn.Conv2d(moments, moments, 1) if config.use_quant_conv else nn.Identity()
        # z_0 = (mean − shift) × scale.
        self.register_buffer("scale", torch.tensor(config.scaling_factor))
        self.register_buffer("shift", torch.tensor(config.shift_factor or 0.0))

    def forward(self, x: Tensor) -> LatentGaussian:
        """x (N, 3, H, W) in [−1, 1], H and W multiples of f."""
        mean, logvar = self.quant_conv(self.encoder(x)).chunk(2, dim=1)
        return LatentGaussian(mean - self.shift, logvar.clamp(-30, 20))
