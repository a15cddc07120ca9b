"""A batch of crops with the step's own source of random numbers, and how it is cut into parts."""

import hashlib
from dataclasses import dataclass, replace

import torch
from torch import Tensor


def step_generator(seed: int, stage: str, step: int) -> torch.Generator:
    """Return the generator of one step, on the CPU; independent for every (seed, stage, step)."""
    digest = hashlib.sha256(f"{seed}/{stage}/{step}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))


@dataclass(frozen=True)
class Batch:
    """Crops of one step.

    Attributes:
        images: (N, 3, H, W) in [−1, 1].
        labels: (N, H, W), 255 = not annotated.
        generator: The step's own, on the CPU.
        step: The optimiser step it is for, counted from 0; None outside of training.
        interior: (N, H, W) target of the interior map, below 0 where it is not known; None without one.
        unlabelled: (M, 3, H, W) crops of any image, for losses that read no label; None without one.
    """

    images: Tensor
    labels: Tensor
    generator: torch.Generator
    step: int | None = None
    interior: Tensor | None = None
    unlabelled: Tensor | None = None

    def to(self, device: torch.device) -> "Batch":
        """Move the pixels; the generator stays on the CPU, so that every device sees the same random numbers."""
        interior = None if self.interior is None else self.interior.to(device)
        unlabelled = None if self.unlabelled is None else self.unlabelled.to(device)
        return replace(
            self,
            images=self.images.to(device),
            labels=self.labels.to(device),
            interior=interior,
            unlabelled=unlabelled,
        )

    def split(self, count: int) -> "list[Batch]":
        """Cut into equal parts, each with a generator of its own that depends on this one and on the part's place.

        So it makes no difference whether the parts are seen one after the other or by several processes.

        Raises:
            ValueError: The batch cannot be cut into `count` equal parts.
        """
        if count == 1:
            return [self]
        if len(self.images) % count:
            raise ValueError(f"a batch of {len(self.images)} cannot be cut into {count} equal parts")
        seeds = torch.randint(2**62, (count,), generator=self.generator).tolist()
        interiors = [None] * count if self.interior is None else self.interior.chunk(count)
        free = [None] * count if self.unlabelled is None else self.unlabelled.chunk(count)
        pixels = zip(self.images.chunk(count), self.labels.chunk(count), interiors, free, seeds, strict=True)
        return [
            Batch(images, labels, torch.Generator().manual_seed(seed), self.step, interior, unlabelled)
            for images, labels, interior, unlabelled, seed in pixels
        ]
