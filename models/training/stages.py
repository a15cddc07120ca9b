"""What each stage learns, as a loss of one batch (section 4; the two-stage training with a warm-up before it).

Stage 0: encoder and decoder (reconstruction of perturbed latents + KL). Stage 1: U-Net and decoder (noise MSE, and on
annotated pixels the contrastive loss). Stage 2: the segmentation network (Dice). Joint: all but the encoder at a low
rate, with the losses of stages 1 and 2 together.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.dae import to_grey
from models.ldiffusion import LDiffusion
from models.noise import sample
from models.training.losses import contrastive_loss, cross_entropy, dice_loss, sample_pixels, standardise
from models.training.recipe import StageConfig

# Stage 1 takes away all but a part of the noise; stage 0 prepares the decoder for what is left.
_RESIDUAL = 0.5
_SCALE_MOMENTUM = 0.02


@dataclass(frozen=True)
class Batch:
    """images (N, 3, H, W) in [−1, 1]; labels (N, H, W), 255 = not annotated; the step's own generator."""

    images: Tensor
    labels: Tensor
    generator: torch.Generator


Losses = dict[str, Tensor]
StageLoss = Callable[[LDiffusion, Batch, StageConfig], Losses]


def stage0(model: LDiffusion, batch: Batch, config: StageConfig) -> Losses:
    """Train encoder and decoder; keeps `encoder.scale` at 1/std of the latents."""
    latent = model.encoder(batch.images)
    if model.training:
        with torch.no_grad():
            model.encoder.scale.lerp_(1 / latent.mean.std().clamp_min(1e-3), _SCALE_MOMENTUM)
    z0 = latent.sample(batch.generator) * model.encoder.scale
    t = _random_timesteps(model, len(z0), batch.generator)
    signal, scale = model.scheduler.signal_and_noise(t)
    part = _RESIDUAL * torch.rand((len(z0), 1, 1, 1), generator=batch.generator)
    noise = sample(model.config.schedule.law, tuple(z0.shape), batch.generator)
    image = model.decoder(z0 + part * scale / signal * noise, t)
    reconstruction = functional.l1_loss(image, batch.images)
    return {"loss": reconstruction + config.kl_weight * latent.kl(), "reconstruction": reconstruction}


def stage1(model: LDiffusion, batch: Batch, config: StageConfig) -> Losses:
    """Train U-Net and decoder on all T steps of the sequence at once."""
    losses, _ = _sequence_losses(model, batch, config)
    return losses


def stage2(model: LDiffusion, batch: Batch, config: StageConfig) -> Losses:
    """Train the segmentation network on the sequence of a frozen stage 1."""
    with torch.no_grad():
        grey = model.grey_maps(batch.images, lambda _t: _noise(model, batch))
    return _segmentation_losses(model, batch, config, grey)


def joint(model: LDiffusion, batch: Batch, config: StageConfig) -> Losses:
    """Fine-tune U-Net, decoder and segmentation network together."""
    first, grey = _sequence_losses(model, batch, config)
    second = _segmentation_losses(model, batch, config, grey)
    return {**first, **second, "loss": first["loss"] + second["loss"]}


def _sequence_losses(model: LDiffusion, batch: Batch, config: StageConfig) -> tuple[Losses, Tensor]:
    """Losses of stage 1, and the grey maps (N, T, H, W) they were taken on."""
    with torch.no_grad():
        z0 = model.encode(batch.images)
    steps = torch.tensor(model.config.schedule.timesteps)
    count, images = len(steps), len(z0)
    # Step-major (T·N): all steps of all images as one batch.
    t = steps.repeat_interleave(images)
    latents = z0.repeat(count, 1, 1, 1)
    noise = sample(model.config.schedule.law, tuple(latents.shape), batch.generator)
    predicted, estimate = model.denoise(latents, noise, t)
    decoded = model.decoder(estimate, t)
    grey = to_grey(decoded).unflatten(0, (count, images)).transpose(0, 1)
    mse = functional.mse_loss(predicted, noise)
    reconstruction = functional.l1_loss(decoded, batch.images.repeat(count, 1, 1, 1))
    contrast = _contrast(grey, batch, config)
    loss = (
        config.noise_weight * mse + config.contrastive_weight * contrast + config.reconstruction_weight * reconstruction
    )
    return {"loss": loss, "noise": mse, "contrastive": contrast, "reconstruction": reconstruction}, grey


def _contrast(grey: Tensor, batch: Batch, config: StageConfig) -> Tensor:
    places, classes = sample_pixels(batch.labels, config.vectors_per_class, batch.generator)
    vectors = standardise(grey).permute(0, 2, 3, 1).flatten(0, 2)[places]
    return contrastive_loss(vectors, classes, config.temperature)


def _segmentation_losses(model: LDiffusion, batch: Batch, config: StageConfig, grey: Tensor) -> Losses:
    with torch.autocast(grey.device.type, torch.bfloat16, enabled=config.bfloat16):
        logits = model.segment(batch.images, grey).float()
    dice, entropy = dice_loss(logits, batch.labels), cross_entropy(logits, batch.labels)
    loss = config.dice_weight * dice + config.cross_entropy_weight * entropy
    return {"loss": loss, "dice_loss": dice, "cross_entropy": entropy}


def _noise(model: LDiffusion, batch: Batch) -> Tensor:
    net = model.config.network
    count, _, height, width = batch.images.shape
    shape = (count, net.latent_channels, height // net.latent_stride, width // net.latent_stride)
    return sample(model.config.schedule.law, shape, batch.generator)


def _random_timesteps(model: LDiffusion, count: int, generator: torch.Generator) -> Tensor:
    steps = torch.tensor(model.config.schedule.timesteps)
    return steps[torch.randint(len(steps), (count,), generator=generator)]


@dataclass(frozen=True)
class Stage:
    """A stage: its loss, and the parts of the model it trains."""

    loss: StageLoss
    trains: tuple[str, ...]

    def parameters(self, model: LDiffusion) -> dict[str, nn.Parameter]:
        """Return the trained parameters by name."""
        return {name: p for name, p in model.named_parameters() if name.split(".")[0] in self.trains}


STAGE_TABLE: dict[str, Stage] = {
    "stage0": Stage(stage0, ("encoder", "decoder")),
    "stage1": Stage(stage1, ("unet", "decoder")),
    "stage2": Stage(stage2, ("segmenter",)),
    "joint": Stage(joint, ("unet", "decoder", "segmenter")),
}
