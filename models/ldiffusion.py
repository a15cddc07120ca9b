"""The joined model: image → latent → T steps → T grey maps (pixel latent vectors) → logits (section 4).

Symbols as in the paper: x image, z_0 latent, ε noise, r_t decoded image, r̂_t grey map; along T each pixel of the grey
maps is its *pixel latent vector* v.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn

from models.config import LDiffusionConfig
from models.networks.convnext import Segmenter
from models.networks.dae import Decoder, to_grey
from models.networks.timm_head import TimmSegmenter
from models.networks.trunk import TrunkSegmenter
from models.networks.unet import UNet
from models.networks.vae import Encoder, LatentGaussian
from models.running_statistics import RunningStatistics
from models.scheduler import LaplaceScheduler

if TYPE_CHECKING:
    from models.networks.diffusers_vae import DiffusersEncoder

# timestep t → noise (N, C, h, w) at that step; for `chain_mode="sample"` also t → uniforms.
NoiseSource = Callable[[int], Tensor]

# b_θ stays within a factor e^±5 of 1, with a gradient everywhere.
_LOG_SCALE_BOUND: Final = 5.0


@dataclass(frozen=True)
class Denoised:
    """What the U-Net makes of z_t: ε̂, log b_θ where it is predicted, and ẑ_0; all (N, C, h, w)."""

    noise: Tensor
    log_scale: Tensor | None
    original: Tensor


class LDiffusion(nn.Module):
    """All networks of one model, and the step sequence that joins them.

    Raises:
        ValueError: `vae` names a folder that `models.pretrained.weights.resolve` has not read yet.
    """

    def __init__(self, config: LDiffusionConfig) -> None:
        super().__init__()
        self.config = config
        net = config.network
        self.scheduler = LaplaceScheduler.from_schedule(config.schedule)
        if config.sequence != "none":
            self.encoder = _encoder(config)
            self.unet = UNet(net.latent_channels, net.unet_widths, net.unet_depth, predict_scale=config.predict_scale)
            self.decoder = Decoder(net.latent_channels, net.latent_stride, net.dae_width, net.dae_depth)
        self.segmenter = _segmenter(config)
        # Only where they are used, so that other models keep their names of tensors.
        running = config.vector_statistics == "running"
        self.vectors = RunningStatistics(len(config.schedule.timesteps)) if running else None

    def encode(self, x: Tensor) -> Tensor:
        """x (N, 3, H, W) in [−1, 1] → z_0 (N, C, H/f, W/f) at unit variance."""
        latent: LatentGaussian = self.encoder(x)
        return latent.mean * self.encoder.scale

    def denoise(self, z0: Tensor, noise: Tensor, t: Tensor, gamma: Tensor | None = None) -> Denoised:
        """Noise z_0 at steps t, predict the noise, take it away.

        Args:
            z0: (N, C, h, w).
            noise: ε, like z_0.
            t: (N,).
            gamma: (N, 1, h, w), exponents of the components' schedules; the shared one if not given.
        """
        noisy = self.scheduler.add_noise(z0, noise, t, gamma)
        predicted, log_scale = self._predict(noisy, t)
        return Denoised(predicted, log_scale, self.scheduler.predict_original(predicted, t, noisy, gamma))

    def _predict(self, z: Tensor, t: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return ε̂, and log b_θ where the config asks for it."""
        output: Tensor = self.unet(z, t)
        if not self.config.predict_scale:
            return output, None
        predicted, raw = output.chunk(2, dim=1)
        return predicted, _LOG_SCALE_BOUND * torch.tanh(raw / _LOG_SCALE_BOUND)

    def images(self, z0: Tensor, noise: NoiseSource, uniforms: NoiseSource | None = None) -> list[Tensor]:
        """Return r_t for each timestep, ascending in t: T tensors (N, 3, H, W)."""
        if self.config.sequence == "parallel":
            return [self._one_step(z0, noise(t), t) for t in self.config.schedule.timesteps]
        return self._chain(z0, noise, uniforms)

    def _one_step(self, z0: Tensor, noise: Tensor, t: int) -> Tensor:
        steps = torch.full((z0.shape[0],), t, device=z0.device)
        image: Tensor = self.decoder(self.denoise(z0, noise, steps).original, steps)
        return image

    def _chain(self, z0: Tensor, noise: NoiseSource, uniforms: NoiseSource | None) -> list[Tensor]:
        """Noise once at the largest t, then walk down through `step`, decoding every estimate."""
        descending = self.config.schedule.timesteps[::-1]
        steps = torch.full((z0.shape[0],), descending[0], device=z0.device)
        walked = self.scheduler.add_noise(z0, noise(descending[0]), steps)
        images: list[Tensor] = []
        for t in descending:
            steps = torch.full((z0.shape[0],), t, device=z0.device)
            probabilities = uniforms(t) if uniforms is not None and self.config.chain_mode == "sample" else None
            predicted, _ = self._predict(walked, steps)
            output = self.scheduler.step(predicted, t, walked, mode=self.config.chain_mode, uniforms=probabilities)
            images.append(self.decoder(output.pred_original_sample, steps))
            walked = output.prev_sample
        return images[::-1]

    def grey_maps(self, x: Tensor, noise: NoiseSource, uniforms: NoiseSource | None = None) -> Tensor:
        """x (N, 3, H, W) → r̂ (N, T, H, W); `r̂[:, :, i, j]` are pixel latent vectors."""
        return torch.stack([to_grey(r) for r in self.images(self.encode(x), noise, uniforms)], dim=1)

    def segment(self, x: Tensor, grey: Tensor | None) -> Tensor:
        """Grey maps, the image, or both, as the config says → (N, `head_outputs`, H, W).

        First the classes' logits; then, where there is an interior map, its logit.
        """
        maps = [] if grey is None else [grey]
        image = [x] if grey is None or self.config.input == "sequence+rgb" else []
        output: Tensor = self.segmenter(torch.cat([*maps, *image], dim=1))
        return output

    def forward(self, x: Tensor, noise: NoiseSource, uniforms: NoiseSource | None = None) -> Tensor:
        """x (N, 3, H, W) in [−1, 1], H and W multiples of `stride_px` → (N, `head_outputs`, H, W), see `segment`."""
        return self.segment(x, None if self.config.sequence == "none" else self.grey_maps(x, noise, uniforms))


def _encoder(config: LDiffusionConfig) -> "Encoder | DiffusersEncoder":
    net = config.network
    if config.vae == "compact":
        return Encoder(net.latent_channels, net.latent_stride, net.encoder_width, net.encoder_depth)
    if config.vae_config is None:
        raise ValueError(f"the config.json of {config.vae} is not read yet: models.pretrained.weights.resolve does it")
    from models.networks.diffusers_vae import DiffusersEncoder  # noqa: PLC0415  diffusers' networks take seconds to import

    return DiffusersEncoder(config.vae_config)


def _segmenter(config: LDiffusionConfig) -> Segmenter | TimmSegmenter | TrunkSegmenter:
    net, channels, outputs = config.network, config.head_channels, config.head_outputs
    if net.is_convnext:
        return TimmSegmenter(channels, outputs, net.backbone, net.backbone_pyramid)
    if net.backbone:
        return TrunkSegmenter(channels, outputs, net.backbone, net.trunk_widths, net.trunk_depth)
    return Segmenter(channels, outputs, net.head_widths, net.head_depths)
