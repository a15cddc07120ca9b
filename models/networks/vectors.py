"""The latent of the diffusion among features: what the segmentation network sees anyway, made comparable."""

from torch import Tensor, nn

from models.networks.layers import MOMENTUM


class FeatureLatent(nn.Module):
    """Features (N, width, h, w) → z_0 (N, C, h, w): a 1x1 projection, at mean 0 and variance 1 a channel.

    The batch norm has no factor and offset of its own, so no loss can make the noise small beside z_0. Once trained its
    statistics are fixed: tiles see what the whole image sees.

    Args:
        width: Channels of the features.
        channels: C.
    """

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(width, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels, affine=False, momentum=MOMENTUM)

    def forward(self, features: Tensor) -> Tensor:
        """Project and normalise."""
        z0: Tensor = self.norm(self.project(features))
        return z0
