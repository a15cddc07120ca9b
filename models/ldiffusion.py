"""The joined model: image → latent → T steps → T grey maps (pixel latent vectors) → logits (section 4).

Symbols as in the paper: x image, z_0 latent, ε noise, r_t decoded image, r̂_t grey map; along T each pixel of the grey
maps is its *pixel latent vector* v. In the form `vectors` z_0 is made of the segmentation network's own features and
nothing is decoded: the T estimates ẑ_0 are the vectors, and the network reads them beside its features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn

from models.config import LDiffusionConfig
from models.networks.convnext import Pyramid, Segmenter
from models.networks.dae import Decoder, to_grey
from models.networks.timm_head import TimmSegmenter
from models.networks.trunk import TrunkSegmenter
from models.networks.unet import UNet
from models.networks.vae import Encoder, LatentGaussian
from models.networks.vectors import FeatureLatent
from models.running_statistics import RunningStatistics
from models.schedule import LaplaceSchedule

if TYPE_CHECKING:
    from models.networks.diffusers_vae import DiffusersEncoder

# timestep t → noise (N, C, h, w) at that step; for `chain_mode="sample"` also t → uniforms.
NoiseSource = Callable[[int], Tensor]

# b_θ stays within a factor e^±5 of 1, with a gradient everywhere.
_LOG_SCALE_BOUND: Final = 5.0
# What stands beside a model while it is trained, and in no model folder: names of its tensors begin so.
COMPANION: Final = "companion"


def bounded_log_scale(raw: Tensor) -> Tensor:
    """Bring what a network gives for log b_θ within its bounds; shape kept."""
    return _LOG_SCALE_BOUND * torch.tanh(raw / _LOG_SCALE_BOUND)


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
        self.scheduler = LaplaceSchedule.from_schedule(config.schedule)
        if config.form == "maps":
            self.encoder = _encoder(config)
            self.unet = UNet(
                net.latent_channels, net.unet_widths, net.unet_depth, predict_scale=config.predict_scale, norm=net.norm
            )
            self.decoder = Decoder(net.latent_channels, net.latent_stride, net.dae_width, net.dae_depth, net.norm)
        self.segmenter = _segmenter(config)
        if net.vectors is not None:
            own = net.vectors
            # Batch norm: faster than norms per pixel, and no worse (the segmentation network has it too).
            self.unet = UNet(own.channels, own.widths, own.depth, predict_scale=config.predict_scale, norm="batch")
            width = self.head.pyramid[self.level]
            self.latent = FeatureLatent(width, own.channels)
            self.merge = nn.Conv2d(width * own.beside + config.vector_length, width, 1)
        # Only where they are used, so that other models keep their names of tensors.
        running = config.vector_statistics == "running"
        self.vectors = RunningStatistics(config.vector_length) if running else None

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
        # Among features the noise loss must not teach the encoder features that are easily told from noise. What the
        # labels teach it goes by the direct way, on which dẑ_0/dz_0 = 1.
        seen = noisy.detach() if self.config.form == "vectors" else noisy
        predicted, log_scale = self._predict(seen, t)
        return Denoised(predicted, log_scale, self.scheduler.predict_original(predicted, t, noisy, gamma))

    def _predict(self, z: Tensor, t: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return ε̂, and log b_θ where the config asks for it."""
        output: Tensor = self.unet(z, t)
        if not self.config.predict_scale:
            return output, None
        predicted, raw = output.chunk(2, dim=1)
        return predicted, bounded_log_scale(raw)

    def images(self, z0: Tensor, noise: NoiseSource, uniforms: NoiseSource | None = None) -> list[Tensor]:
        """Return r_t for each timestep, ascending in t: T tensors (N, 3, H, W)."""
        return [image for image, _ in self._taken(z0, noise, uniforms)]

    def _taken(
        self, z0: Tensor, noise: NoiseSource, uniforms: NoiseSource | None
    ) -> list[tuple[Tensor, Tensor | None]]:
        """Return r_t and log b_θ of each step, ascending in t."""
        if self.config.sequence == "parallel":
            return [self._one_step(z0, noise(t), t) for t in self.config.schedule.timesteps]
        return self._chain(z0, noise, uniforms)

    def _one_step(self, z0: Tensor, noise: Tensor, t: int) -> tuple[Tensor, Tensor | None]:
        steps = torch.full((z0.shape[0],), t, device=z0.device)
        denoised = self.denoise(z0, noise, steps)
        image: Tensor = self.decoder(denoised.original, steps)
        return image, denoised.log_scale

    def _chain(
        self, z0: Tensor, noise: NoiseSource, uniforms: NoiseSource | None
    ) -> list[tuple[Tensor, Tensor | None]]:
        """Noise once at the largest t, then walk down through `step`, decoding every estimate."""
        descending = self.config.schedule.timesteps[::-1]
        steps = torch.full((z0.shape[0],), descending[0], device=z0.device)
        walked = self.scheduler.add_noise(z0, noise(descending[0]), steps)
        taken: list[tuple[Tensor, Tensor | None]] = []
        for t in descending:
            steps = torch.full((z0.shape[0],), t, device=z0.device)
            probabilities = uniforms(t) if uniforms is not None and self.config.chain_mode == "sample" else None
            predicted, log_scale = self._predict(walked, steps)
            output = self.scheduler.step(predicted, t, walked, mode=self.config.chain_mode, uniforms=probabilities)
            taken.append((self.decoder(output.pred_original_sample, steps), log_scale))
            walked = output.prev_sample
        return taken[::-1]

    def grey_maps(self, x: Tensor, noise: NoiseSource, uniforms: NoiseSource | None = None) -> Tensor:
        """x (N, 3, H, W) → r̂ (N, T, H, W); `r̂[:, :, i, j]` are pixel latent vectors.

        With `colour` r of all steps, (N, 3T, H, W); with `scale_maps` T maps of log b_θ behind.

        Raises:
            ValueError: The model decodes no maps.
        """
        if self.config.form != "maps":
            raise ValueError("this model decodes no maps: its network reads the image itself")
        images, scales = zip(*self._taken(self.encode(x), noise, uniforms), strict=True)
        maps = torch.cat(images, dim=1) if self.config.colour else torch.stack([to_grey(r) for r in images], dim=1)
        if not self.config.scale_maps:
            return maps
        return torch.cat([maps, self.scale_maps([scale for scale in scales if scale is not None])], dim=1)

    def scale_maps(self, log_scales: Sequence[Tensor]) -> Tensor:
        """T times log b_θ (N, C, h, w) → (N, T, H, W), the mean over C."""
        means = torch.stack([scale.mean(dim=1) for scale in log_scales], dim=1)
        f = self.config.network.latent_stride
        return means.repeat_interleave(f, dim=2).repeat_interleave(f, dim=3)

    # --- vectors ------------------------------------------------------------------------------------------------------

    @property
    def head(self) -> Pyramid:
        """The segmentation network.

        Raises:
            TypeError: It is one that does not give its features.
        """
        if isinstance(self.segmenter, TimmSegmenter):
            raise TypeError(f"backbone {self.config.network.backbone!r} does not give its features")
        return self.segmenter

    @property
    def level(self) -> int:
        """Place of z_0's stride among the segmentation network's features."""
        return self.config.latent_grid[1].bit_length() - 1

    def estimates(self, features: Sequence[Tensor], noise: Tensor) -> Denoised:
        """Take all T steps from the segmentation network's features at once.

        Args:
            features: What the network's way down gives.
            noise: ε of all steps, step-major: (T·N, C, h, w).

        Returns:
            Step-major as well; in float32 also within autocast, in which depthwise convolutions are slower.
        """
        with torch.autocast(noise.device.type, enabled=False):
            z0 = self.latent(features[self.level].float())
            steps = torch.tensor(self.config.schedule.timesteps, device=noise.device)
            latents = z0.repeat(len(steps), 1, 1, 1)
            return self.denoise(latents, noise, steps.repeat_interleave(len(z0)))

    def pixel_vectors(self, original: Tensor) -> Tensor:
        """ẑ_0 of all steps (T·N, C, h, w), step-major → (N, T·C, h, w)."""
        count = len(self.config.schedule.timesteps)
        return original.reshape(count, -1, *original.shape[1:]).transpose(0, 1).flatten(1, 2)

    def segment_vectors(self, features: Sequence[Tensor], vectors: Tensor) -> Tensor:
        """Read features and pixel latent vectors (N, T·C, h, w) → (N, `head_outputs`, H, W), see `segment`."""
        read = list(features)
        beside = self.merge.in_channels > vectors.shape[1]
        read[self.level] = self.merge(torch.cat([read[self.level], vectors], dim=1) if beside else vectors)
        output: Tensor = self.head.classify(self.head.refine(read))
        return output

    # --- the head -----------------------------------------------------------------------------------------------------

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
        if self.config.form == "vectors":
            features = self.head.features(x)
            drawn = torch.cat([noise(t) for t in self.config.schedule.timesteps])
            return self.segment_vectors(features, self.pixel_vectors(self.estimates(features, drawn).original))
        return self.segment(x, None if self.config.form == "none" else self.grey_maps(x, noise, uniforms))


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
