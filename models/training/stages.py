"""What each stage learns, as a loss of one batch (section 4; the two-stage training with a warm-up before it).

Stage 0: encoder and decoder (reconstruction of perturbed latents + KL). Stage 1: U-Net and decoder (noise MSE, and on
annotated pixels the contrastive loss). Denoise: the segmentation network of a model without a sequence, on noised
images (`models.training.unlabelled`). Stage 2: the segmentation network (Dice, and the interior map where there is
one); the only one of a model without a step sequence. Joint: all but the encoder at a low rate, with the losses of
stages 1 and 2 together.

Images without annotation take part in stages 0 and 1, where the contrastive loss of such a batch is exactly zero. The
segmentation network has nothing to learn from them: crops without any annotated pixel are left out of its losses, and
of its batch norm. A batch of such crops only, which chance can draw from a partly annotated image, costs nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.ldiffusion import COMPANION, Denoised, LDiffusion
from models.networks.dae import to_grey
from models.noise import sample
from models.training.components import component_law, majority
from models.training.crops.batch import Batch
from models.training.loop import Losses
from models.training.losses import (
    IGNORE,
    contrast_by_pair,
    contrastive_loss,
    cross_entropy,
    dice_loss,
    interior_loss,
    noise_likelihood,
    sample_pixels,
    standardise,
)
from models.training.recipe import StageConfig
from models.training.unlabelled import consistency, denoise

# Stage 1 takes away all but a part of the noise; stage 0 prepares the decoder for what is left.
_RESIDUAL = 0.5
_SCALE_MOMENTUM = 0.02

StageLoss = Callable[[LDiffusion, Batch, StageConfig], Losses]


def stage0(model: LDiffusion, batch: Batch, config: StageConfig) -> Losses:
    """Train encoder and decoder; keeps `encoder.scale` at 1/std of the latents. A frozen encoder stays as it is."""
    frozen = model.encoder.frozen
    with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
        latent = model.encoder(batch.images)
    if model.training and not frozen:
        with torch.no_grad():
            _keep_scale(model, latent.mean)
    z0 = latent.sample(batch.generator) * model.encoder.scale
    t = _random_timesteps(model, batch)
    signal, scale = model.scheduler.signal_and_noise(t)
    part = _RESIDUAL * torch.rand((len(z0), 1, 1, 1), generator=batch.generator).to(z0.device)
    image = model.decoder(z0 + part * scale / signal * _noise(model, batch, tuple(z0.shape)), t)
    reconstruction = functional.l1_loss(image, batch.images)
    loss = reconstruction if frozen else reconstruction + config.kl_weight * latent.kl()
    return {"loss": loss, "reconstruction": reconstruction}


def _keep_scale(model: LDiffusion, mean: Tensor) -> None:
    model.encoder.scale.lerp_(1 / mean.std().clamp_min(1e-3), _SCALE_MOMENTUM)


def stage1(model: LDiffusion, batch: Batch, config: StageConfig) -> Losses:
    """Train U-Net and decoder on all T steps of the sequence at once.

    Components have laws of their own, if the config gives them, in training only: held-out losses are those of the
    shared law, which is inference's.
    """
    if model.training and config.train_encoder:
        with torch.no_grad():
            _keep_scale(model, model.encoder(batch.images).mean)
    losses, _ = _sequence_losses(model, batch, config, own_laws=model.training)
    return losses


def stage2(model: LDiffusion, batch: Batch, config: StageConfig) -> Losses:
    """Train the segmentation network on the sequence of a frozen stage 1."""
    batch = _keep(batch, _annotated(batch))
    if model.config.form == "vectors":
        return _vector_losses(model, batch, config)
    if model.config.form == "none":
        losses = _segmentation_losses(model, batch, config, None)
        if not config.consistency:
            return losses
        more = consistency(model, batch, config)
        return {**losses, **more, "loss": losses["loss"] + more["loss"]} if more else losses
    with torch.no_grad():
        grey = _grey_maps(model, batch)
    return _segmentation_losses(model, batch, config, grey)


def joint(model: LDiffusion, batch: Batch, config: StageConfig) -> Losses:
    """Fine-tune U-Net, decoder and segmentation network together.

    One law for all components: noise that depends on the label would tell the segmentation network the answer.
    """
    first, grey = _sequence_losses(model, batch, config, own_laws=False)
    keep = _annotated(batch)
    kept = _keep(batch, keep)
    if model.config.sequence == "chain":
        # Noise and contrast are learned on independent steps either way; the head must see inference's maps.
        grey = _grey_maps(model, kept)
    elif keep is not None:
        grey = grey[keep]
    second = _segmentation_losses(model, kept, config, grey)
    return {**first, **second, "loss": first["loss"] + second["loss"]}


def _sequence_losses(model: LDiffusion, batch: Batch, config: StageConfig, *, own_laws: bool) -> tuple[Losses, Tensor]:
    """Losses of stage 1, and the grey maps (N, T, H, W) they were taken on."""
    with torch.set_grad_enabled(torch.is_grad_enabled() and config.train_encoder):
        z0 = model.encode(batch.images)
    steps = _steps(model, batch, config, drawn=own_laws).to(z0.device)
    count, images = len(steps), len(z0)
    # Step-major (T·N): all steps of all images as one batch.
    t = steps.repeat_interleave(images)
    latents = z0.repeat(count, 1, 1, 1)
    noise, gamma = _noise(model, batch, tuple(latents.shape)), None
    law = component_law(model.config, batch.labels) if own_laws else None
    if law is not None:
        noise, gamma = noise * law.scale.repeat(count, 1, 1, 1), law.gamma.repeat(count, 1, 1, 1)
    denoised = model.denoise(latents, noise, t, gamma)
    decoded = model.decoder(denoised.original, t)
    if model.config.colour:
        grey = decoded.unflatten(0, (count, images)).transpose(0, 1).flatten(1, 2)
    else:
        grey = to_grey(decoded).unflatten(0, (count, images)).transpose(0, 1)
    losses = _noise_losses(model, noise, denoised)
    losses |= _contrast(model, grey, batch.labels, batch, config)
    losses["reconstruction"] = functional.l1_loss(decoded, batch.images.repeat(count, 1, 1, 1))
    loss = (
        config.noise_weight * losses.get("likelihood", losses["noise"])
        + contrastive_weight(config, batch.step) * losses["contrastive"]
        + config.reconstruction_weight * losses["reconstruction"]
    )
    if model.config.scale_maps and denoised.log_scale is not None:
        grey = torch.cat([grey, model.scale_maps(denoised.log_scale.unflatten(0, (count, images)).unbind())], dim=1)
    return {"loss": loss, **losses}, grey


def _noise_losses(model: LDiffusion, noise: Tensor, denoised: Denoised) -> Losses:
    losses = {"noise": functional.mse_loss(denoised.noise, noise)}
    if denoised.log_scale is not None:
        losses["likelihood"] = noise_likelihood(model.config.schedule.law, noise, denoised.noise, denoised.log_scale)
    return losses


def _steps(model: LDiffusion, batch: Batch, config: StageConfig, *, drawn: bool) -> Tensor:
    """Return T ascending timesteps: the sequence's, or in stage 1's training ones drawn from 1 to `t_max`."""
    own = torch.tensor(model.config.schedule.timesteps)
    if not (drawn and config.t_max):
        return own
    return torch.randperm(config.t_max, generator=batch.generator)[: len(own)].sort().values + 1


def _vector_losses(model: LDiffusion, batch: Batch, config: StageConfig) -> Losses:
    """Losses of the diffusion among features: noise, contrast of the vectors, and the classes, in one pass."""
    images, count = batch.images, len(model.config.schedule.timesteps)
    channels, stride = model.config.latent_grid
    shape = (count * len(images), channels, images.shape[2] // stride, images.shape[3] // stride)
    noise = _noise(model, batch, shape)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=config.bfloat16):
        features = model.head.features(images)
        denoised = model.estimates(features, noise)
        vectors = model.pixel_vectors(denoised.original)
        output = model.segment_vectors(features, vectors).float()
    losses = _noise_losses(model, noise, denoised)
    losses |= _contrast(model, vectors, majority(batch.labels, stride, model.config.num_classes), batch, config)
    head = _output_losses(model, output, batch, config)
    loss = (
        head["loss"]
        + config.noise_weight * losses.get("likelihood", losses["noise"])
        + contrastive_weight(config, batch.step) * losses["contrastive"]
    )
    return {**head, **losses, "loss": loss}


def contrastive_weight(config: StageConfig, step: int | None) -> float:
    """Weight of the contrastive loss at a step: a straight line up over the first `contrastive_ramp_steps`.

    Outside of training (no step) the full weight, so that held-out losses compare.
    """
    if step is None or step >= config.contrastive_ramp_steps:
        return config.contrastive_weight
    return config.contrastive_weight * (step + 1) / config.contrastive_ramp_steps


def _contrast(model: LDiffusion, grey: Tensor, labels: Tensor, batch: Batch, config: StageConfig) -> Losses:
    places, classes = sample_pixels(labels, config.vectors_per_class, batch.generator)
    if model.vectors is not None and model.training:
        model.vectors.update(grey)
    standard = standardise(grey) if model.vectors is None else model.vectors(grey)
    vectors = standard.permute(0, 2, 3, 1).flatten(0, 2)[places]
    losses = {"contrastive": contrastive_loss(vectors, classes, config.temperature)}
    if config.contrastive_pairs:
        losses |= contrast_by_pair(vectors, classes, config.temperature, model.config.num_classes)
    return losses


def _segmentation_losses(model: LDiffusion, batch: Batch, config: StageConfig, grey: Tensor | None) -> Losses:
    with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=config.bfloat16):
        output = model.segment(batch.images, grey).float()
    return _output_losses(model, output, batch, config)


def _output_losses(model: LDiffusion, output: Tensor, batch: Batch, config: StageConfig) -> Losses:
    logits, interior = output.tensor_split([model.config.num_classes], dim=1)
    losses = head_losses(logits, batch.labels, config)
    if batch.interior is None or not model.config.interior_um:
        return losses
    distance = interior_loss(interior[:, 0], batch.interior)
    return losses | {"loss": losses["loss"] + config.interior_weight * distance, "interior": distance}


def head_losses(logits: Tensor, labels: Tensor, config: StageConfig) -> Losses:
    """Dice and cross-entropy in their weights: what stage 2, the joint stage and every baseline learn by."""
    dice, entropy = dice_loss(logits, labels), cross_entropy(logits, labels)
    loss = config.dice_weight * dice + config.cross_entropy_weight * entropy
    return {"loss": loss, "dice_loss": dice, "cross_entropy": entropy}


def _grey_maps(model: LDiffusion, batch: Batch) -> Tensor:
    """Grey maps (N, T, H, W) as inference makes them, with the step's own random numbers."""
    count, _, height, width = batch.images.shape
    net = model.config.network
    shape = (count, net.latent_channels, height // net.latent_stride, width // net.latent_stride)

    def uniforms(_t: int) -> Tensor:
        return torch.rand(shape, generator=batch.generator).to(batch.images.device)

    return model.grey_maps(batch.images, lambda _t: _noise(model, batch, shape), uniforms)


def _annotated(batch: Batch) -> Tensor | None:
    """Indices of the crops that hold an annotated pixel; None if all do. If none does, the first, for a zero loss."""
    annotated = (batch.labels != IGNORE).flatten(1).any(dim=1)
    if bool(annotated.all()):
        return None
    return annotated.nonzero().flatten() if bool(annotated.any()) else annotated.new_zeros(1, dtype=torch.int64)


def _keep(batch: Batch, places: Tensor | None) -> Batch:
    if places is None:
        return batch
    interior = None if batch.interior is None else batch.interior[places]
    return replace(batch, images=batch.images[places], labels=batch.labels[places], interior=interior)


def _noise(model: LDiffusion, batch: Batch, shape: tuple[int, ...]) -> Tensor:
    return sample(model.config.schedule.law, shape, batch.generator).to(batch.images.device)


def _random_timesteps(model: LDiffusion, batch: Batch) -> Tensor:
    steps = torch.tensor(model.config.schedule.timesteps)
    chosen = torch.randint(len(steps), (len(batch.images),), generator=batch.generator)
    return steps[chosen].to(batch.images.device)


@dataclass(frozen=True)
class Stage:
    """A stage: its loss, the parts of the model it trains, and whether its crops must be annotated."""

    loss: StageLoss
    trains: tuple[str, ...]
    labelled: bool = False

    def parameters(self, model: LDiffusion, config: StageConfig) -> dict[str, nn.Parameter]:
        """Return the trained parameters by name; a frozen encoder has none."""
        parts = set(self.trains)
        if model.config.form == "maps":
            if "unet" in parts and config.train_encoder:
                parts.add("encoder")
            if model.encoder.frozen:
                parts.discard("encoder")
        elif model.config.form == "vectors":
            parts |= {"latent", "unet", "merge"}
        if config.consistency == "noise":
            parts.add(f"{COMPANION}.restore")
        return {name: p for name, p in model.named_parameters() if any(name.startswith(f"{part}.") for part in parts)}


STAGE_TABLE: dict[str, Stage] = {
    "stage0": Stage(stage0, ("encoder", "decoder")),
    "stage1": Stage(stage1, ("unet", "decoder")),
    "denoise": Stage(denoise, ("segmenter", f"{COMPANION}.restore")),
    "stage2": Stage(stage2, ("segmenter",), labelled=True),
    "joint": Stage(joint, ("unet", "decoder", "segmenter"), labelled=True),
}
