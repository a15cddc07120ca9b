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
    """images (N, 3, H, W) in [−1, 1]; labels (N, H, W), 255 = not annotated; the step's own generator, on the CPU.

    `step` is the optimiser step it is for, counted from 0; None outside of training.
    """

    images: Tensor
    labels: Tensor
    generator: torch.Generator
    step: int | None = None

    def to(self, device: torch.device) -> "Batch":
        """Move the pixels; the generator stays on the CPU, so that every device sees the same random numbers."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

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
        pixels = zip(self.images.chunk(count), self.labels.chunk(count), seeds, strict=True)
        return [
            Batch(images, labels, torch.Generator().manual_seed(seed), self.step) for images, labels, seed in pixels
        ]
