"""Networks that the paper compares with and segmentation-models-pytorch lacks, written from their descriptions, small.

All take (N, 3, H, W) with sides that are multiples of 32 and give logits (N, classes, H, W), untrained. The two
convolutional ones have batch norm alone, which in evaluation is the same at every pixel; the transformer has layer
norm over the channels of a token, which is so too. As the other baselines they read a whole image with its halo and
are never tiled: the global mean of ASPP and the windows of Swin depend on where an image begins and ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import models.torch_compat  # noqa: F401  (before timm)

import torch
from segmentation_models_pytorch.decoders.deeplabv3.decoder import ASPP
from segmentation_models_pytorch.encoders import get_encoder
from timm.models.swin_transformer import PatchMerging, SwinTransformerBlock
from torch import Tensor, nn
from torch.nn import functional

_ENCODER: Final = "resnet18"
_DROPOUT: Final = 0.1


def _resized(x: Tensor, size: Sequence[int]) -> Tensor:
    return functional.interpolate(x, size=tuple(size[-2:]), mode="bilinear", align_corners=False)


# --- DenseASPP --------------------------------------------------------------------------------------------------------


class _Atrous(nn.Sequential):
    """Norm and ReLU before each convolution: 1×1 down to `inner`, then 3×3 with a dilation, to `growth` channels."""

    def __init__(self, channels: int, inner: int, growth: int, dilation: int) -> None:
        super().__init__(
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, growth, 3, padding=dilation, dilation=dilation),
            nn.Dropout2d(_DROPOUT),
        )


class DenseASPP(nn.Module):
    """Yang et al. (2018): atrous convolutions of rising dilation, each fed with the output of all before it.

    On a ResNet-18 whose last two stages are dilated, stride 8, in place of their DenseNet-121. Each layer gives an
    eighth of the encoder's channels, through half of them, as they have it.
    """

    dilations: Final = (3, 6, 12, 18, 24)

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.encoder = get_encoder(_ENCODER, in_channels=3, weights=None, output_stride=8)
        channels = self.encoder.out_channels[-1]
        growth = channels // 8
        widths = [channels + place * growth for place in range(len(self.dilations) + 1)]
        self.layers = nn.ModuleList(
            _Atrous(width, channels // 2, growth, dilation)
            for width, dilation in zip(widths[:-1], self.dilations, strict=True)
        )
        self.classify = nn.Sequential(nn.Dropout2d(_DROPOUT), nn.Conv2d(widths[-1], classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) → logits (N, classes, H, W)."""
        seen = self.encoder(x)[-1]
        for layer in self.layers:
            seen = torch.cat([layer(seen), seen], dim=1)
        return _resized(self.classify(seen), x.shape)


# --- FastFCN ----------------------------------------------------------------------------------------------------------


def _conv_norm(channels: int, width: int, kernel: int, dilation: int = 1, groups: int = 1) -> nn.Sequential:
    """Return convolution, batch norm and ReLU; depthwise and then 1×1 with as many groups as channels."""
    pad = dilation * (kernel // 2)
    if groups == 1:
        head: list[nn.Module] = [nn.Conv2d(channels, width, kernel, padding=pad, dilation=dilation, bias=False)]
    else:
        spatial = nn.Conv2d(channels, channels, kernel, padding=pad, dilation=dilation, groups=groups, bias=False)
        head = [spatial, nn.BatchNorm2d(channels), nn.Conv2d(channels, width, 1, bias=False)]
    return nn.Sequential(*head, nn.BatchNorm2d(width), nn.ReLU())


class FastFCN(nn.Module):
    """Wu et al. (2019): an encoder without dilation, and joint pyramid upsampling in its place.

    The last three stages of a ResNet-18 (strides 8, 16, 32) are brought to one width and to stride 8; four separable
    convolutions of dilation 1, 2, 4, 8 read them side by side. The head behind is ASPP, one of the three they try.
    """

    width: Final = 128
    dilations: Final = (1, 2, 4, 8)

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.encoder = get_encoder(_ENCODER, in_channels=3, weights=None, output_stride=32)
        joined = 3 * self.width
        self.lateral = nn.ModuleList(_conv_norm(channels, self.width, 3) for channels in self.encoder.out_channels[-3:])
        self.pyramid = nn.ModuleList(_conv_norm(joined, self.width, 3, rate, joined) for rate in self.dilations)
        # The rates of a dilated network of stride 8.
        self.context = ASPP(4 * self.width, self.width, (12, 24, 36), separable=False, dropout=_DROPOUT)
        self.classify = nn.Sequential(_conv_norm(self.width, self.width, 3), nn.Conv2d(self.width, classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) → logits (N, classes, H, W)."""
        levels = [layer(level) for layer, level in zip(self.lateral, self.encoder(x)[-3:], strict=True)]
        joined = torch.cat([_resized(level, levels[0].shape) for level in levels], dim=1)
        seen = self.context(torch.cat([layer(joined) for layer in self.pyramid], dim=1))
        return _resized(self.classify(seen), x.shape)


# --- Swin-UNet --------------------------------------------------------------------------------------------------------


class _Expand(nn.Module):
    """Patch expanding: every token becomes `factor`² tokens of `width` channels, by one linear layer and layer norm."""

    def __init__(self, channels: int, width: int, factor: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, factor * factor * width, bias=False)
        self.norm = nn.LayerNorm(width)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """(N, h, w, channels) → (N, h·factor, w·factor, width)."""
        n, h, w, _ = x.shape
        f = self.factor
        grown = self.linear(x).reshape(n, h, w, f, f, -1).permute(0, 1, 3, 2, 4, 5)
        normed: Tensor = self.norm(grown.reshape(n, h * f, w * f, -1))
        return normed


class SwinUNet(nn.Module):
    """Cao et al. (2022): a U-Net of Swin transformer blocks, patches merged on the way down, expanded on the way up.

    Half as wide as theirs. The blocks are timm's, with windows that are padded where a side is no multiple of seven,
    so that images of any size that is a multiple of 32 fit.
    """

    width: Final = 48
    heads: Final = (3, 6, 12, 24)
    depth: Final = 2
    patch: Final = 4

    def __init__(self, classes: int) -> None:
        super().__init__()
        widths = [self.width << level for level in range(len(self.heads))]
        self.embed = nn.Conv2d(3, self.width, self.patch, self.patch)
        self.norm = nn.LayerNorm(self.width)
        self.down = nn.ModuleList(map(self._blocks, range(len(widths))))
        self.merge = nn.ModuleList(PatchMerging(width) for width in widths[:-1])
        self.expand = nn.ModuleList(_Expand(2 * width, width, 2) for width in widths[:-1])
        self.join = nn.ModuleList(nn.Linear(2 * width, width) for width in widths[:-1])
        self.up = nn.ModuleList(map(self._blocks, range(len(widths) - 1)))
        self.last = _Expand(self.width, self.width, self.patch)
        self.classify = nn.Conv2d(self.width, classes, 1)

    def _blocks(self, level: int) -> nn.Sequential:
        window = 7
        return nn.Sequential(
            *(
                SwinTransformerBlock(
                    self.width << level,
                    (window, window),  # of no account: windows and masks are made anew for every size
                    num_heads=self.heads[level],
                    window_size=window,
                    shift_size=0 if place % 2 == 0 else window // 2,
                    always_partition=True,
                    dynamic_mask=True,
                )
                for place in range(self.depth)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) → logits (N, classes, H, W)."""
        seen = self.norm(self.embed(x).permute(0, 2, 3, 1).contiguous())
        skips = []
        for blocks, merge in zip(self.down, self.merge, strict=False):
            skips.append(blocks(seen))
            seen = merge(skips[-1])
        seen = self.down[-1](seen)
        for level in reversed(range(len(skips))):
            both = torch.cat([self.expand[level](seen), skips[level]], dim=-1)
            seen = self.up[level](self.join[level](both))
        logits: Tensor = self.classify(self.last(seen).permute(0, 3, 1, 2).contiguous())
        return logits


@dataclass(frozen=True)
class Written:
    """One of these networks, by its class."""

    network: type[DenseASPP] | type[FastFCN] | type[SwinUNet]

    def build(self, classes: int) -> nn.Module:
        """Return it untrained."""
        return self.network(classes)
