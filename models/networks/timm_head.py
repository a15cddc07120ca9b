"""The segmentation network on a timm ConvNeXt: four stages at strides 4, 8, 16, 32, a small pyramid, full-size logits.

Code of the backbone: timm (Apache-2.0), after Liu et al., "A ConvNet for the 2020s". Built with random weights;
`models.pretrained.weights` fills in others, which have licences of their own. Its layer norms are per pixel, so tiling
is exact; V2's global response norm takes a statistic over space and is refused.
"""

from typing import Any

import models.postponed  # noqa: F401  (before timm)

import torch
from timm.layers.grn import GlobalResponseNorm
from timm.models._registry import list_models
from torch import Tensor, nn
from torch.nn import functional

from models.networks.layers import Block, PixelNorm
from models.networks.timm_networks import has_network, make_network

_STRIDES = [4, 8, 16, 32]


class TimmSegmenter(nn.Module):
    """(N, channels, H, W) → logits (N, num_classes, H, W).

    Args:
        channels: T grey maps, plus 3 where RGB is given too.
        num_classes: Classes with the background.
        backbone: A timm ConvNeXt, `convnext_atto` for one.
        width: Channels of the pyramid.

    Raises:
        ValueError: timm has no such network, or it is none of that shape.
    """

    def __init__(self, channels: int, num_classes: int, backbone: str, width: int) -> None:
        super().__init__()
        self.channels = channels
        self.backbone: Any = make_backbone(backbone, channels)
        widths = self.backbone.feature_info.channels()
        self.lateral = nn.ModuleList(nn.Conv2d(coming, width, 1) for coming in widths)
        self.smooth = nn.ModuleList(Block(width) for _ in widths)
        self.norm = PixelNorm(width)
        # Stride 4 to 1 without interpolation: each coarse pixel writes its own 4x4 block.
        self.spread = nn.Conv2d(width, 16 * (width // 4), 1)
        self.detail = nn.Conv2d(width // 4 + channels, width // 4, 3, padding=1)
        self.classify = nn.Conv2d(width // 4, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Segment; H and W multiples of 32."""
        features = self.backbone(x)
        h = self.smooth[-1](self.lateral[-1](features[-1]))
        for level in reversed(range(len(features) - 1)):
            h = functional.interpolate(h, scale_factor=2.0, mode="bilinear", align_corners=False)
            h = self.smooth[level](self.lateral[level](features[level]) + h)
        h = functional.pixel_shuffle(self.spread(self.norm(h)), 4)
        h = functional.gelu(self.detail(torch.cat([h, x], dim=1)))
        logits: Tensor = self.classify(h)
        return logits


def make_backbone(name: str, channels: int) -> Any:
    """Build a ConvNeXt for `channels` input maps with random weights; errors as for `TimmSegmenter`."""
    architecture = name.split(".", maxsplit=1)[0]
    if "convnext" not in architecture or not has_network(name):
        known = ", ".join(list_models("convnext_*")[:4])
        raise ValueError(f"backbone is {name!r}; it must be one of timm's ConvNeXt networks, such as {known}")
    # timm's layer scale of 1e-6 suits hundreds of epochs; weights from outside bring their own.
    net = make_network(name, in_chans=channels, ls_init_value=0.1)
    if net.feature_info.reduction() != _STRIDES:
        raise ValueError(f"backbone {name!r} has strides {net.feature_info.reduction()}; it must have {_STRIDES}")
    if any(isinstance(module, GlobalResponseNorm) for module in net.modules()):
        raise ValueError(f"backbone {name!r} takes a statistic over space, so tiling would not be exact; use a V1 one")
    return net
