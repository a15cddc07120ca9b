"""What the segmentation network learns from images without labels: to restore them, and to answer alike for two views.

Diffusion that trains and leaves nothing behind: the network is taught on noised *images*, and at inference sees the
image alone in one pass. What that needs beside the model (`Companion`) is in the run's state and in no model folder.

Noised views have statistics of their own. They are normalised by these, and the running statistics of batch norms,
which inference uses, stay those of the clean images.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.ldiffusion import COMPANION, LDiffusion, bounded_log_scale
from models.networks.convnext import conv_norm
from models.noise import sample
from models.training.crops.augment import AugmentConfig, photometric
from models.training.crops.batch import Batch
from models.training.loop import Losses
from models.training.losses import noise_likelihood
from models.training.recipe import StageConfig

_RGB: Final = 3
# Twice what every crop gets anyway.
_STRONG: Final = AugmentConfig(stain=0.8, brightness=0.3, contrast=0.5, blur=0.6, noise=0.1)


class Companion(nn.Module):
    """What stands beside a model while it is trained.

    Args:
        model: Its segmentation network must be one that gives its features.
    """

    def __init__(self, model: LDiffusion) -> None:
        super().__init__()
        width = model.head.pyramid[0]
        # What was added to the image, or the image, and log b of each of its channels.
        self.restore = nn.Sequential(conv_norm(width, width), nn.ReLU(), nn.Conv2d(width, 2 * _RGB, 1))
        self.teacher = copy.deepcopy(model.head).requires_grad_(requires_grad=False)

    def restored(self, finest: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is predicted and its log b, (N, 3, H, W) each, from the network's finest features."""
        predicted, raw = self.restore(finest).float().chunk(2, dim=1)
        return predicted, bounded_log_scale(raw)

    @torch.no_grad()
    def follow(self, model: LDiffusion, step: int, decay: float) -> None:
        """Move the teacher's weights after the network's, from these at step 0, slowly later; statistics are taken."""
        share = max(1 - decay, 1 / (step + 1))
        for weight, other in zip(self.teacher.parameters(), model.head.parameters(), strict=True):
            weight.lerp_(other, share)
        for statistic, now in zip(self.teacher.buffers(), model.head.buffers(), strict=True):
            statistic.copy_(now)


def attach(model: LDiffusion) -> None:
    """Put a companion beside a model; names of its tensors begin with `COMPANION`."""
    model.add_module(COMPANION, Companion(model))


def companion_of(model: LDiffusion) -> Companion:
    """Return the companion beside a model.

    Raises:
        TypeError: There is none.
    """
    companion = getattr(model, COMPANION, None)
    if not isinstance(companion, Companion):
        raise TypeError("the model has no companion: `attach` gives it one")
    return companion


@contextmanager
def own_statistics(*modules: nn.Module) -> Iterator[None]:
    """Let batch norms use the statistics of the batch, in evaluation too, and keep their running ones as they are."""
    norms = [part for module in modules for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    before = [(norm.training, norm.track_running_stats) for norm in norms]
    for norm in norms:
        norm.training, norm.track_running_stats = True, False
    try:
        yield
    finally:
        for norm, (training, tracks) in zip(norms, before, strict=True):
            norm.training, norm.track_running_stats = training, tracks


def denoise(model: LDiffusion, batch: Batch, config: StageConfig) -> Losses:
    """Train the network to tell the noise in a noised image, or to give a clean image back."""
    images, companion = batch.images, companion_of(model)
    view, target = (images, images) if config.restores == "image" else noised(model, images, batch, config)
    with own_statistics(model.head, companion), _autocast(images, config):
        finest = model.head.refine(model.head.features(view))
        predicted, log_scale = companion.restored(finest)
    mse = functional.mse_loss(predicted, target)
    if not config.likelihood:
        return {"loss": mse, "noise": mse}
    likelihood = noise_likelihood(model.config.schedule.law, target, predicted, log_scale)
    return {"loss": likelihood, "noise": mse}


def noised(model: LDiffusion, images: Tensor, batch: Batch, config: StageConfig) -> tuple[Tensor, Tensor]:
    """Return x_t of a random step for each image, and its noise; both like `images`."""
    last = config.t_max or model.config.schedule.timesteps[-1]
    t = torch.randint(1, last + 1, (len(images),), generator=batch.generator).to(images.device)
    noise = sample(model.config.schedule.law, tuple(images.shape), batch.generator).to(images.device)
    return model.scheduler.add_noise(images, noise, t), noise


def consistency(model: LDiffusion, batch: Batch, config: StageConfig) -> Losses:
    """The network on another view against the teacher on the crop itself, where the teacher is sure.

    Returns:
        `loss`, weighted; `consistency`, and `sure`, the share of pixels that count. Nothing where the batch has no
        unlabelled crops, as in validation.
    """
    images = batch.unlabelled
    if images is None or batch.step is None:
        return {}
    companion, classes = companion_of(model), model.config.num_classes
    companion.follow(model, batch.step, config.teacher_decay)
    with torch.no_grad(), _autocast(images, config):
        sure, answer = companion.teacher(images)[:, :classes].float().softmax(dim=1).max(dim=1)
    if config.consistency == "noise":
        view, noise = noised(model, images, batch, config)
    else:
        view, noise = photometric(images.cpu(), _STRONG, batch.generator).to(images.device), None
    with own_statistics(model.head, companion), _autocast(images, config):
        finest = model.head.refine(model.head.features(view))
        logits = model.head.classify(finest)[:, :classes].float()
        restored = companion.restored(finest) if noise is not None and config.noise_weight else None
    counts = (sure >= config.consistency_threshold).float()
    agree = (functional.cross_entropy(logits, answer, reduction="none") * counts).mean()
    loss = config.consistency_weight * _ramp(config, batch.step) * agree
    losses = {"consistency": agree, "sure": counts.mean()}
    if restored is not None and noise is not None:
        likelihood = noise_likelihood(model.config.schedule.law, noise, *restored)
        loss = loss + config.noise_weight * likelihood
        losses["likelihood"] = likelihood
    return {"loss": loss, **losses}


def _ramp(config: StageConfig, step: int) -> float:
    return min(1.0, (step + 1) / max(1, config.consistency_ramp_steps))


def _autocast(images: Tensor, config: StageConfig) -> torch.autocast:
    return torch.autocast(images.device.type, torch.bfloat16, enabled=config.bfloat16)
