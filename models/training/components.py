"""The noise law of each component, where the component is known (Eq. 7 and 10-12)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from models.config import LDiffusionConfig
from models.training.losses import IGNORE


def majority(labels: Tensor, stride: int, num_classes: int) -> Tensor:
    """Reduce a label map to the latent grid: the class that covers most of each block of stride x stride px.

    Args:
        labels: (N, H, W) class indices, 255 = unknown, which counts as a class; H and W multiples of `stride`.
        stride: f.
        num_classes: Classes with the background.

    Returns:
        (N, H/f, W/f) int64. Of classes with equal cover the lowest wins, and any class before unknown.
    """
    shifted = labels.where(labels != IGNORE, num_classes)
    cover = functional.one_hot(shifted, num_classes + 1).permute(0, 3, 1, 2).float()
    winner = functional.avg_pool2d(cover, stride, divisor_override=1).argmax(dim=1)
    return winner.where(winner < num_classes, IGNORE)


@dataclass(frozen=True)
class ComponentLaw:
    """Per latent pixel, (N, 1, h, w) each: `gamma` the exponent of ᾱ_t, `scale` the noise's b_n against the shared."""

    gamma: Tensor
    scale: Tensor


def component_law(config: LDiffusionConfig, labels: Tensor) -> ComponentLaw | None:
    """Return the law of every latent pixel under labels (N, H, W), 1 where unknown; None if all have one law."""
    schedule = config.schedule
    if not (schedule.component_gammas or schedule.component_scales):
        return None
    components = majority(labels, config.network.latent_stride, config.num_classes)
    return ComponentLaw(
        _look_up(schedule.component_gammas, components), _look_up(schedule.component_scales, components)
    )


def _look_up(values: tuple[float, ...], components: Tensor) -> Tensor:
    table = torch.ones(IGNORE + 1, device=components.device)
    table[: len(values)] = table.new_tensor(values)
    return table[components].unsqueeze(1)
