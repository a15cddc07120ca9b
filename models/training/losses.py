"""Losses of the two stages: noise, pixel latent vector contrast and Dice (section 4)."""

import math
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional

from models.config import NoiseLaw

IGNORE = 255
_EPS = 1e-6
# What lies farther than this from an object, in working px, counts so much for the interior map.
_NEAR_PX = 2
_FAR = 0.1


def laplace_likelihood(noise: Tensor, predicted: Tensor, log_scale: Tensor) -> Tensor:
    """Mean negative log-likelihood of ε under Laplace(ε̂, b_θ): |ε − ε̂|/b_θ + log 2b_θ (Eq. 12); all of one shape."""
    return ((noise - predicted).abs() * torch.exp(-log_scale) + log_scale).mean() + math.log(2)


def gaussian_likelihood(noise: Tensor, predicted: Tensor, log_scale: Tensor) -> Tensor:
    """Mean negative log-likelihood of ε under a Gaussian law of mean ε̂ and standard deviation b_θ; all of one shape."""
    squared = ((noise - predicted) * torch.exp(-log_scale)).square()
    return (0.5 * squared + log_scale).mean() + 0.5 * math.log(2 * math.pi)


def noise_likelihood(law: NoiseLaw, noise: Tensor, predicted: Tensor, log_scale: Tensor) -> Tensor:
    """The likelihood of the noise's own law: Gaussian for Gaussian noise, Laplace's for any other."""
    own = gaussian_likelihood if law == "gaussian" else laplace_likelihood
    return own(noise, predicted, log_scale)


def sample_pixels(labels: Tensor, per_class: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pick up to `per_class` annotated pixels of every class of every image.

    Args:
        labels: (N, H, W) class indices, 255 = not annotated.
        per_class: K.
        generator: Source of the choice, on the CPU.

    Returns:
        Flat indices into N·H·W and their classes, both (M,). A class with fewer than two pixels in an image is
        left out: it has no positive pair there.
    """
    flat = labels.reshape(labels.shape[0], -1)
    size = flat.shape[1]
    places, classes = [], []
    for image, row in enumerate(flat):
        for value in torch.unique(row).tolist():
            where = torch.nonzero(row == value).flatten()
            if value == IGNORE or where.numel() < 2:
                continue
            chosen = where[torch.randperm(where.numel(), generator=generator)[:per_class].to(where.device)]
            places.append(image * size + chosen)
            classes.append(torch.full((chosen.numel(),), int(value), device=where.device))
    if not places:
        none = torch.zeros(0, dtype=torch.int64, device=labels.device)
        return none, none
    return torch.cat(places), torch.cat(classes)


def standardise(grey: Tensor) -> Tensor:
    """Centre and scale each step over all pixels of the batch, (N, T, H, W) → same.

    Grey values are all of one sign; without centring every cosine is near 1.
    """
    mean = grey.mean(dim=(0, 2, 3), keepdim=True)
    variance = grey.var(dim=(0, 2, 3), keepdim=True, unbiased=False)
    return (grey - mean) * torch.rsqrt(variance + 1e-4)


def contrastive_loss(vectors: Tensor, classes: Tensor, temperature: float) -> Tensor:
    """Contrast of pixel latent vectors (section 4, L_CRT), averaged over all ordered positive pairs.

    For each pair (k, k') of one component: −log e^{s⁺/τ} / (e^{s⁺/τ} + Σ_{i of other components} e^{s_ki/τ}).

    Args:
        vectors: (M, T), standardised.
        classes: (M,) component of each vector.
        temperature: τ.

    Returns:
        Scalar; exactly 0, with a gradient, where there is no positive pair or only one component.
    """
    same = classes[:, None] == classes[None, :]
    positive = same & ~torch.eye(len(classes), dtype=torch.bool, device=classes.device)
    if not bool(positive.any()) or bool(same.all()):
        return vectors.sum() * 0.0
    # In float32 also within autocast: three digits of a cosine, divided by τ, are a tenth in the exponent.
    with torch.autocast(vectors.device.type, enabled=False):
        directions = functional.normalize(
            vectors.to(torch.promote_types(vectors.dtype, torch.float32)), dim=1, eps=_EPS
        )
        similarity = directions @ directions.T / temperature
    # log Σ over negatives per anchor, (M, 1); then log(e^s + Σ) − s = softplus(log Σ − s), without overflow.
    negatives = similarity.masked_fill(same, -torch.inf).logsumexp(dim=1, keepdim=True)
    return functional.softplus(negatives - similarity)[positive].mean()


def contrast_by_pair(vectors: Tensor, classes: Tensor, temperature: float, num_classes: int) -> dict[str, Tensor]:
    """The contrastive loss of every two components taken by themselves, for the log; no gradient.

    Returns:
        `contrastive_A_B`, 0 where the batch lacks one of the two, and `present_A_B`, 1 or 0. Averaged over batches, the
        first divided by the second is the mean over those that hold both.
    """
    values: dict[str, Tensor] = {}
    for first, second in combinations(range(num_classes), 2):
        pair = (classes == first) | (classes == second)
        chosen = classes[pair]
        present = bool((chosen == first).any()) and bool((chosen == second).any())
        loss = contrastive_loss(vectors.detach()[pair], chosen, temperature)
        values[f"contrastive_{first}_{second}"] = loss
        values[f"present_{first}_{second}"] = loss.new_tensor(float(present))
    return values


def dice_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """1 − 2·y'·y/(y' + y) (section 4, L_Dice) over the batch, averaged over the classes present.

    Args:
        logits: (N, K, H, W).
        labels: (N, H, W), 255 = not annotated.
    """
    known = (labels != IGNORE).unsqueeze(1)
    target = functional.one_hot(labels.where(labels != IGNORE, 0), logits.shape[1]).permute(0, 3, 1, 2) * known
    probability = logits.softmax(dim=1) * known
    overlap = (probability * target).sum(dim=(0, 2, 3))
    total = (probability + target).sum(dim=(0, 2, 3))
    present = target.sum(dim=(0, 2, 3)) > 0
    loss = 1 - 2 * overlap / total.clamp_min(_EPS)
    return (loss * present).sum() / present.sum().clamp_min(1)


def interior_loss(logit: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of the interior map with its target, both (N, H, W), where the target is known (not below 0).

    Objects are split within the labels alone, so what is farther than a few pixels from any object counts a tenth: the
    valley between two that touch would else be lost among the background.
    """
    known = target >= 0
    if not bool(known.any()):
        return logit.sum() * 0.0
    near = functional.max_pool2d((target > 0).float().unsqueeze(1), 2 * _NEAR_PX + 1, stride=1, padding=_NEAR_PX)
    weight = (_FAR + (1 - _FAR) * near.squeeze(1))[known]
    loss = functional.binary_cross_entropy_with_logits(logit[known], target[known], weight, reduction="sum")
    return loss / weight.sum()


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over annotated pixels; 0 with a gradient where there is none."""
    if not bool((labels != IGNORE).any()):
        return logits.sum() * 0.0
    return functional.cross_entropy(logits, labels, ignore_index=IGNORE)
