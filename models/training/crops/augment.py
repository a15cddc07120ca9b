"""Random crops with geometric and stain augmentation, all from one `torch.Generator`."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from models.settings import settings
from models.training.crops.data import IGNORE, Plane

# Haematoxylin, eosin and residual in optical density (Ruifrok and Johnston 2001), rows of unit length.
_STAINS = torch.tensor([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])


@settings
class AugmentConfig:
    """Strengths. Zero or (1, 1) switches an augmentation off."""

    scale: tuple[float, float] = (0.75, 1.4)
    stain: float = 0.4
    brightness: float = 0.15
    contrast: float = 0.25
    blur: float = 0.3
    noise: float = 0.02
    glass: float = 0.25


class Cropper:
    """Draws augmented square crops from a set of planes, each plane with a chance that grows with its area.

    Args:
        planes: The training images at the model's mpp.
        crop_px: Side of a crop in working px.
        config: Strengths of the augmentation.
    """

    def __init__(self, planes: list[Plane], crop_px: int, config: AugmentConfig) -> None:
        self.planes = planes
        self.crop_px = crop_px
        self.config = config
        self._areas = torch.tensor([plane.labels.numel() for plane in planes], dtype=torch.float64)

    def batch(self, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return images (size, 3, crop, crop) in [−1, 1], labels (size, crop, crop) int64, and the interior or None.

        The interior is float32 of the labels' shape, below 0 where it is not known; it does not change with the scale.
        """
        picks = torch.multinomial(self._areas, size, replacement=True, generator=generator).tolist()
        crops = [self._crop(self.planes[i], generator) for i in picks]
        images = photometric(torch.stack([image for image, _, _ in crops]), self.config, generator)
        glass, light = self._glass(len(crops), generator)
        images = images.where(~glass[:, None], light[:, None])
        labels = torch.stack([labels for _, labels, _ in crops]).where(~glass, 0)
        interior = [known for _, _, known in crops if known is not None]
        return images, labels, torch.stack(interior).where(~glass, 0.0) if interior else None

    def _crop(self, plane: Plane, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor | None]:
        height, width = plane.labels.shape
        u = torch.rand(5, generator=generator).tolist()
        low, high = self.config.scale
        scale = low * (high / low) ** u[0]
        angle = 2 * math.pi * u[1]
        # Source px per crop px; the centre stays where at least half of the crop lies on the image.
        reach = self.crop_px / scale / 2
        centre_x = _between(min(reach, width / 2), max(width - reach, width / 2), u[2])
        centre_y = _between(min(reach, height / 2), max(height - reach, height / 2), u[3])
        flip = -1.0 if u[4] < 0.5 else 1.0
        steps = (torch.arange(self.crop_px) + 0.5 - self.crop_px / 2) / scale
        cos, sin = math.cos(angle), math.sin(angle)
        x = centre_x + flip * (cos * steps[None, :] - sin * steps[:, None])
        y = centre_y + sin * steps[None, :] + cos * steps[:, None]
        grid = torch.stack([2 * x / width - 1, 2 * y / height - 1], dim=-1)[None]
        image = functional.grid_sample(plane.image[None], grid, padding_mode="reflection", align_corners=False)[0]
        # Shifted by one so that what lies outside the image (0) is told from class 0.
        known = plane.labels.where(plane.labels != IGNORE, -1).float()[None, None] + 1
        labels = functional.grid_sample(known, grid, mode="nearest", padding_mode="reflection", align_corners=False)
        shifted = labels[0, 0].round().long() - 1
        interior = None if plane.interior is None else _sampled(plane.interior, grid)
        return image, shifted.where(shifted >= 0, IGNORE), interior

    def _glass(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Choose glass over one side of some crops: the edge of the tissue, and of the slide, is hardly in the images.

        Returns:
            Where it lies, (count, crop, crop), and how light it is, (count, 1, 1).
        """
        side = self.crop_px
        u = torch.rand((5, count, 1, 1), generator=generator)
        steps = (torch.arange(side) + 0.5) / side - 0.5
        angle = 2 * math.pi * u[0]
        along = torch.cos(angle) * steps[None, None, :] + torch.sin(angle) * steps[None, :, None]
        glass = (u[1] < self.config.glass) & (along > 0.5 * u[2])
        # Half of it the pure white that lies outside of a slide, half a scanner's light grey.
        return glass, torch.where(u[3] < 0.5, 1.0, 0.75 + 0.25 * u[4])


def photometric(images: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Change stains, light, sharpness and grain of images (N, 3, H, W) in [−1, 1], each in its own way; shape kept."""
    count = images.shape[0]

    def around_one(strength: float, *shape: int) -> Tensor:
        return 1 + strength * (2 * torch.rand((count, *shape), generator=generator) - 1)

    density = -torch.log(((images + 1) / 2).clamp(1 / 255, 1))
    stains = functional.normalize(_STAINS, dim=1)
    amounts = torch.einsum("nchw,cs->nshw", density, torch.linalg.inv(stains))
    amounts = amounts * around_one(config.stain, 3, 1, 1) + (around_one(config.stain / 4, 3, 1, 1) - 1)
    tilted = functional.normalize(stains * around_one(config.stain / 3, 3, 3), dim=2)
    images = torch.exp(-torch.einsum("nshw,nsc->nchw", amounts, tilted)) * 2 - 1
    images = images * around_one(config.contrast, 1, 1, 1) + (around_one(config.brightness, 1, 1, 1) - 1)
    soft = functional.avg_pool2d(functional.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    mix = torch.rand((count, 1, 1, 1), generator=generator) * 2 * config.blur - config.blur / 2
    images = images + mix * (soft - images)
    images = images + config.noise * torch.rand((count, 1, 1, 1), generator=generator) * torch.randn(
        images.shape, generator=generator
    )
    return images.clamp(-1, 1)


def _sampled(interior: Tensor, grid: Tensor) -> Tensor:
    """Sample an interior map smoothly; next to what is not known it is not known either."""
    both = torch.stack([interior.clamp_min(0), (interior < 0).float()])[None]
    value, unknown = functional.grid_sample(both, grid, padding_mode="reflection", align_corners=False)[0]
    sampled: Tensor = value.where(unknown == 0, -1.0)
    return sampled


def _between(low: float, high: float, u: float) -> float:
    return low + (high - low) * u
