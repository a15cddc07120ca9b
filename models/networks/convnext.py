"""The segmentation network F_seg (section 4): a residual pyramid with timm's ConvNeXt blocks, full-size logits.

Code of the ConvNeXt stages: timm (Apache-2.0), after Liu et al., "A ConvNet for the 2020s". No pretrained weights are
used. V1 blocks only: V2's global response norm takes a statistic over space, which would break exact tiling. Batch
normalisation does not: once trained it is one fixed factor and offset a channel.
"""

from collections.abc import Sequence
from itertools import pairwise

import models.postponed  # noqa: F401  (before timm)

import torch
from timm.models.convnext import ConvNeXtStage
from torch import Tensor, nn
from torch.nn import functional

from models.networks.layers import MOMENTUM


def conv_norm(channels: int, width: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution, its bias taken over by the batch norm after it."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, stride, padding=1, bias=False), nn.BatchNorm2d(width, momentum=MOMENTUM)
    )


class Halve(nn.Module):
    """Residual pair of 3x3 convolutions, the first with stride 2: (N, channels, H, W) → (N, width, H/2, W/2)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.first = conv_norm(channels, width, stride=2)
        self.second = conv_norm(width, width)
        self.skip = nn.Conv2d(channels, width, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Halve the resolution."""
        return functional.relu(self.skip(x) + self.second(functional.relu(self.first(x))))


class Pyramid(nn.Module):
    """A segmentation network that gives its features: down by `features`, up again by `refine`.

    Attributes:
        pyramid: Channels of the features, finest first; each further one has half the resolution.
        narrow: Brings each level to the width of the next finer one.
        merge: Joins it with that level's features.
        classify: Reads the output from the finest.
    """

    pyramid: tuple[int, ...]
    narrow: nn.ModuleList
    merge: nn.ModuleList
    classify: nn.Conv2d

    def features(self, x: Tensor) -> list[Tensor]:
        """Return what the way down gives, (N, `pyramid[i]`, H/2^i, W/2^i) each; H and W multiples of the coarsest."""
        raise NotImplementedError

    def refine(self, features: Sequence[Tensor]) -> Tensor:
        """Join the features, coarse to fine: (N, widths[0], H, W), which the classes are read from."""
        *skips, h = features
        for level in reversed(range(len(skips))):
            h = functional.interpolate(self.narrow[level](h), scale_factor=2.0, mode="bilinear", align_corners=False)
            h = functional.relu(self.merge[level](torch.cat([h, skips[level]], dim=1)))
        return h

    def forward(self, x: Tensor) -> Tensor:
        """Segment; H and W multiples of the coarsest stride."""
        output: Tensor = self.classify(self.refine(self.features(x)))
        return output


class Segmenter(Pyramid):
    """(N, channels, H, W) → logits (N, num_classes, H, W).

    Args:
        channels: T grey maps, plus 3 where RGB is given too.
        num_classes: Classes with the background.
        widths: Channels at strides 1, 2, 4, …
        depths: ConvNeXt blocks at each of these strides; none at stride 1, where they would cost most.
    """

    def __init__(self, channels: int, num_classes: int, widths: Sequence[int], depths: Sequence[int]) -> None:
        super().__init__()
        self.pyramid = tuple(widths)
        self.stem = conv_norm(channels, widths[0])
        self.down = nn.ModuleList(
            nn.Sequential(Halve(fine, coarse), convnext_stage(coarse, depth))
            for (fine, coarse), depth in zip(pairwise(widths), depths[1:], strict=True)
        )
        self.narrow = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in pairwise(widths))
        self.merge = nn.ModuleList(conv_norm(2 * width, width) for width in widths[:-1])
        self.classify = nn.Conv2d(widths[0], num_classes, 1)

    def features(self, x: Tensor) -> list[Tensor]:
        """Return the features of all strides, see `Pyramid`."""
        found = [functional.relu(self.stem(x))]
        for down in self.down:
            found.append(down(found[-1]))
        return found


def convnext_stage(width: int, depth: int) -> nn.Module:
    """`depth` ConvNeXt blocks of one width, at one stride."""
    # timm's layer scale of 1e-6 suits hundreds of epochs; here the blocks would hardly matter before training is over.
    return ConvNeXtStage(width, width, stride=1, depth=depth, ls_init_value=0.1) if depth else nn.Identity()
