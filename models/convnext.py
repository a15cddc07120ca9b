"""The segmentation network F_seg (section 4): timm's ConvNeXt on the grey maps, a feature pyramid, full-size logits.

Code of ConvNeXt: timm (Apache-2.0), after Liu et al., "A ConvNet for the 2020s". No pretrained weights are used.
V1 blocks only: V2's global response norm takes a statistic over space, which would break exact tiling.
"""

from collections.abc import Sequence

import models.torch_compat  # noqa: F401  (before timm)

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.layers import Block


class Segmenter(nn.Module):
    """(N, channels, H, W) → logits (N, num_classes, H, W).

    Args:
        channels: T grey maps, plus 3 where RGB is given too.
        num_classes: Classes with the background.
        widths: ConvNeXt widths, one a stage, at strides 4, 8, 16, …
        depths: ConvNeXt blocks a stage.
        pyramid_width: Channels of the feature pyramid.
        detail_width: Channels of the full-resolution layers.
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        widths: Sequence[int],
        depths: Sequence[int],
        pyramid_width: int,
        detail_width: int,
    ) -> None:
        super().__init__()
        # timm's class always has four stages; with `features_only` it drops those no output asks for.
        spare = 4 - len(widths)
        self.backbone = timm.create_model(
            "convnext_atto",
            pretrained=False,
            features_only=True,
            in_chans=channels,
            out_indices=tuple(range(len(widths))),
            dims=(*widths, *(8,) * spare),
            depths=(*depths, *(1,) * spare),
            # timm's 1e-6 suits hundreds of epochs; here the blocks would hardly matter before training is over.
            ls_init_value=0.1,
        )
        self.lateral = nn.ModuleList(nn.Conv2d(width, pyramid_width, 1) for width in widths)
        self.smooth = nn.ModuleList(Block(pyramid_width) for _ in widths)
        self.spread = nn.Conv2d(pyramid_width, 16 * detail_width, 1)
        self.detail = nn.Conv2d(detail_width + channels, detail_width, 3, padding=1)
        self.refine = nn.Conv2d(detail_width, detail_width, 3, padding=1)
        self.classify = nn.Conv2d(detail_width, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Segment; H and W multiples of the coarsest stride."""
        features = self.backbone(x)
        h = None
        for level in reversed(range(len(features))):
            side = self.lateral[level](features[level])
            if h is not None:
                side = side + functional.interpolate(h, scale_factor=2.0, mode="bilinear", align_corners=False)
            h = self.smooth[level](side)
        # Stride 4 → 1 without interpolation: each coarse pixel writes its own 4x4 block.
        h = functional.pixel_shuffle(self.spread(h), 4)
        h = functional.gelu(self.detail(torch.cat([h, x], dim=1)))
        h = functional.gelu(self.refine(h))
        logits: Tensor = self.classify(h)
        return logits
