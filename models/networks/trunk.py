"""The segmentation network on a pretrained trunk: a timm encoder cut after stride 16, fine branches beside it.

The trunk reads the image, which it was trained on; what is finer than its stride 2, and the grey maps, come in by a
branch of our own at strides 1 and 2. At stride 16 stands the ConvNeXt stage of the paper (timm, V1 blocks). Code of the
encoders: timm (Apache-2.0). Built with random weights; `models.pretrained.weights` fills in others, for training only.

Encoders that take a statistic over space (squeeze-and-excitation, global response norm, attention, group norm) are
refused: a tile would change its neighbours. Batch normalisation, once trained, is one factor and offset a channel.
"""

from itertools import pairwise
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.networks.convnext import Halve, Pyramid, conv_norm, convnext_stage
from models.networks.layers import MOMENTUM
from models.networks.timm_networks import has_network, make_network

_RGB: Final = 3
_STRIDES: Final = [2, 4, 8, 16]
# Longer than any local encoder sees up to stride 16; what couples its ends takes a statistic over space.
_FAR_PX: Final = 4096


class TrunkSegmenter(Pyramid):
    """(N, channels, H, W) → (N, outputs, H, W); H and W multiples of 16.

    Args:
        channels: Grey maps first, the image's three last.
        outputs: Classes with the background, and the interior map where there is one.
        backbone: timm's name of the encoder, `tf_efficientnet_lite0` for one.
        widths: Channels of the decoder at strides 1, 2, 4, 8 and 16.
        depth: ConvNeXt blocks at stride 16.

    Raises:
        ValueError: timm has no such network, it has other strides, or it takes a statistic over space.
    """

    def __init__(
        self, channels: int, outputs: int, backbone: str, widths: tuple[int, int, int, int, int], depth: int
    ) -> None:
        super().__init__()
        self.backbone: Any = make_trunk(backbone)
        found = self.backbone.feature_info.channels()
        self.stem = conv_norm(channels, widths[0])
        self.fine = Halve(widths[0], widths[1])
        self.coarse = nn.Sequential(nn.Conv2d(found[3], widths[4], 1), convnext_stage(widths[4], depth))
        skips = (widths[0], widths[1] + found[0], found[1], found[2])
        self.pyramid = (*skips, widths[4])
        self.narrow = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in pairwise(widths))
        self.merge = nn.ModuleList(
            conv_norm(width + skip, width) for width, skip in zip(widths[:4], skips, strict=True)
        )
        self.classify = nn.Conv2d(widths[0], outputs, 1)

    def features(self, x: Tensor) -> list[Tensor]:
        """Return features at strides 1, 2, 4, 8 and 16, `pyramid` channels each; the image is the last three of x."""
        stem = functional.relu(self.stem(x))
        second, fourth, eighth, sixteenth = self.backbone(x[:, -_RGB:])
        return [stem, torch.cat([self.fine(stem), second], dim=1), fourth, eighth, self.coarse(sixteenth)]


def make_trunk(name: str) -> Any:
    """Build the encoder, with random weights, up to stride 16: a module that gives features at strides 2, 4, 8, 16.

    Raises:
        ValueError: As for `TrunkSegmenter`.
    """
    if not has_network(name):
        raise ValueError(f"backbone is {name!r}; timm has no network of that name; one it has: tf_efficientnet_lite0")
    net = make_network(name, feature_cls="getter", out_indices=(0, 1, 2, 3))
    if net.feature_info.reduction() != _STRIDES:
        raise ValueError(f"backbone {name!r} has strides {net.feature_info.reduction()}; it must have {_STRIDES}")
    if _couples_far(net):
        raise ValueError(f"backbone {name!r} takes a statistic over space, so tiling would not be exact")
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = MOMENTUM
    return net


@torch.inference_mode()
def _couples_far(net: nn.Module) -> bool:
    """Return whether a NaN at one end of a long image reaches the other: it survives every weight on its way.

    Of a network without numbers (device `meta`, where only shapes are wanted) that is not known, and it counts as no.
    """
    if any(parameter.is_meta for parameter in net.parameters()):
        return False
    image = torch.zeros(1, _RGB, _FAR_PX, _STRIDES[-1])
    image[:, :, 0] = torch.nan
    net.eval()
    far = any(bool(features[:, :, -1].isnan().any()) for features in net(image))
    net.train()
    return far
