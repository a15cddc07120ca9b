"""The joined model: image → latent → T steps → T grey maps (pixel latent vectors) → logits (section 4).

Symbols as in the paper: x image, z_0 latent, ε noise, r_t decoded image, r̂_t grey map; along T each pixel of the grey
maps is its *pixel latent vector* v.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from models.config import LDiffusionConfig
from models.convnext import Segmenter
from models.dae import Decoder, to_grey
from models.scheduler import LaplaceScheduler
from models.unet import UNet
from models.vae import Encoder

# timestep t → noise (N, C, h, w) at that step; for `chain_mode="sample"` also t → uniforms.
NoiseSource = Callable[[int], Tensor]


class LDiffusion(nn.Module):
    """All networks of one model, and the step sequence that joins them."""

    def __init__(self, config: LDiffusionConfig) -> None:
        super().__init__()
        self.config = config
        net = config.network
        self.scheduler = LaplaceScheduler.from_schedule(config.schedule)
        self.encoder = Encoder(net.latent_channels, net.latent_stride, net.encoder_width, net.encoder_depth)
        self.unet = UNet(net.latent_channels, net.unet_widths, net.unet_depth)
        self.decoder = Decoder(net.latent_channels, net.latent_stride, net.dae_width, net.dae_depth)
        channels = len(config.schedule.timesteps) + (3 if config.input == "sequence+rgb" else 0)
        self.segmenter = Segmenter(channels, config.num_classes, net.head_widths, net.head_depths)

    def encode(self, x: Tensor) -> Tensor:
        """x (N, 3, H, W) in [−1, 1] → z_0 (N, C, H/f, W/f) at unit variance."""
        mean: Tensor = self.encoder(x).mean
        return mean * self.encoder.scale

    def denoise(self, z0: Tensor, noise: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Noise z_0 at steps t, predict the noise, take it away: (ε̂, ẑ_0), both like z_0; t (N,)."""
        noisy = self.scheduler.add_noise(z0, noise, t)
        predicted = self.unet(noisy, t)
        return predicted, self.scheduler.predict_original(predicted, t, noisy)

    def images(self, z0: Tensor, noise: NoiseSource, uniforms: NoiseSource | None = None) -> list[Tensor]:
        """Return r_t for each timestep, ascending in t: T tensors (N, 3, H, W)."""
        if self.config.sequence == "parallel":
            return [self._one_step(z0, noise(t), t) for t in self.config.schedule.timesteps]
        return self._chain(z0, noise, uniforms)

    def _one_step(self, z0: Tensor, noise: Tensor, t: int) -> Tensor:
        steps = torch.full((z0.shape[0],), t, device=z0.device)
        _, estimate = self.denoise(z0, noise, steps)
        image: Tensor = self.decoder(estimate, steps)
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
            output = self.scheduler.step(
                self.unet(walked, steps), t, walked, mode=self.config.chain_mode, uniforms=probabilities
            )
            images.append(self.decoder(output.pred_original_sample, steps))
            walked = output.prev_sample
        return images[::-1]

    def grey_maps(self, x: Tensor, noise: NoiseSource, uniforms: NoiseSource | None = None) -> Tensor:
        """x (N, 3, H, W) → r̂ (N, T, H, W); `r̂[:, :, i, j]` are pixel latent vectors."""
        return torch.stack([to_grey(r) for r in self.images(self.encode(x), noise, uniforms)], dim=1)

    def segment(self, x: Tensor, grey: Tensor) -> Tensor:
        """Grey maps (and the image, where the config says so) → logits (N, classes, H, W)."""
        logits: Tensor = self.segmenter(torch.cat([grey, x], dim=1) if self.config.input == "sequence+rgb" else grey)
        return logits

    def forward(self, x: Tensor, noise: NoiseSource, uniforms: NoiseSource | None = None) -> Tensor:
        """x (N, 3, H, W) in [−1, 1], H and W multiples of `stride_px` → logits (N, classes, H, W)."""
        return self.segment(x, self.grey_maps(x, noise, uniforms))
