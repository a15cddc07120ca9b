"""Mean and variance of the grey maps over the training images, by step: what pixel latent vectors are centred by."""

from typing import Final

import torch
from torch import Tensor, nn

# About the last hundred batches.
_LEAST_SHARE: Final = 0.01
_EPS: Final = 1e-4


class RunningStatistics(nn.Module):
    """Standardises grey maps by statistics that outlive the batch, so that a batch of one component keeps its place.

    They are constants for the gradient: shifting a whole batch is felt by the loss, which the batch's own statistics
    would hide.

    Args:
        steps: T.
    """

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(steps))
        self.register_buffer("variance", torch.ones(steps))
        self.register_buffer("count", torch.zeros(()))

    @torch.no_grad()
    def update(self, grey: Tensor) -> None:
        """Take in the grey maps (N, T, H, W) of one batch: a plain mean at first, exponential later."""
        self.count += 1
        share = (1 / self.count).clamp_min(_LEAST_SHARE)
        mean = grey.mean(dim=(0, 2, 3)).float()
        # Spread around the running mean: between the batches counts as much as within them.
        spread = grey.var(dim=(0, 2, 3), unbiased=False).float() + (mean - self.mean).square() * (1 - share)
        self.mean.lerp_(mean, share)
        self.variance.lerp_(spread, share)

    def forward(self, grey: Tensor) -> Tensor:
        """Centre and scale each step, (N, T, H, W) → same."""
        mean, variance = (value[None, :, None, None] for value in (self.mean, self.variance))
        return (grey - mean) * torch.rsqrt(variance + _EPS)
