"""Losses against literal numpy loops and closed forms."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

from models.training.losses import (
    contrast_by_pair,
    contrastive_loss,
    cross_entropy,
    dice_loss,
    laplace_likelihood,
    sample_pixels,
    standardise,
)


def literal_contrastive(vectors: NDArray[np.float64], classes: NDArray[np.int64], tau: float) -> float:
    """Section 4 written out: every ordered pair of one component, negatives of all other components."""

    def similarity(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    losses = []
    for k in range(len(vectors)):
        negative = sum(
            np.exp(similarity(vectors[k], vectors[i]) / tau) for i in range(len(vectors)) if classes[i] != classes[k]
        )
        for other in range(len(vectors)):
            if other != k and classes[other] == classes[k]:
                positive = np.exp(similarity(vectors[k], vectors[other]) / tau)
                losses.append(-np.log(positive / (positive + negative)))
    return float(np.mean(losses))


def test_one_pixel_in_ten_on_the_wrong_side_costs_more_than_no_contrast_at_all() -> None:
    classes = torch.arange(200) % 2
    sides = classes.clone()
    sides[::20] = 1 - sides[::20]  # pixels of component 0 that look like 1 ...
    sides[1::20] = 1 - sides[1::20]  # ... and of 1 that look like 0
    vectors = torch.zeros(200, 5)
    vectors[:, 0] = 1.0 - 2.0 * sides

    clean = torch.zeros(200, 5)
    clean[:, 0] = 1.0 - 2.0 * classes
    alike = float(contrastive_loss(torch.ones(200, 5), classes, 0.1))
    assert alike == pytest.approx(np.log(101))
    assert float(contrastive_loss(clean, classes, 0.1)) < 1e-4
    assert float(contrastive_loss(vectors, classes, 0.1)) > alike


def test_cosines_keep_their_digits_within_autocast() -> None:
    vectors = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    classes = torch.arange(40) % 2
    with torch.autocast("cpu", torch.bfloat16):
        inside = contrastive_loss(vectors, classes, 0.05)
    assert torch.equal(inside, contrastive_loss(vectors, classes, 0.05))


@pytest.mark.parametrize("tau", [0.05, 0.1, 0.5])
@pytest.mark.parametrize(("count", "steps", "components"), [(6, 3, 2), (15, 5, 3), (24, 8, 4)])
def test_contrastive_loss_is_the_literal_one(count: int, steps: int, components: int, tau: float) -> None:
    rng = np.random.default_rng(count)
    vectors, classes = rng.normal(size=(count, steps)), rng.integers(0, components, count)
    ours = contrastive_loss(torch.from_numpy(vectors), torch.from_numpy(classes), tau).item()
    assert ours == pytest.approx(literal_contrastive(vectors, classes, tau), rel=1e-6)


def test_the_loss_of_a_pair_is_the_literal_one_on_its_vectors_alone() -> None:
    rng = np.random.default_rng(3)
    vectors, classes = rng.normal(size=(20, 4)), np.array([0, 1, 2, 4] * 5)
    values = contrast_by_pair(torch.from_numpy(vectors), torch.from_numpy(classes), 0.2, num_classes=5)
    assert len(values) == 2 * 10
    for first, second in ((0, 1), (0, 4), (2, 4)):
        pair = (classes == first) | (classes == second)
        expected = literal_contrastive(vectors[pair], classes[pair], 0.2)
        assert values[f"contrastive_{first}_{second}"].item() == pytest.approx(expected)
        assert values[f"present_{first}_{second}"].item() == 1
    assert values["contrastive_1_3"].item() == values["present_1_3"].item() == 0


def test_laplace_likelihood_is_scipys_and_least_at_the_mean_deviation() -> None:
    generator = torch.Generator().manual_seed(2)
    noise, predicted, log_scale = (torch.randn(2, 3, 4, 4, generator=generator) for _ in range(3))
    expected = -stats.laplace.logpdf(noise, loc=predicted, scale=log_scale.exp()).mean()
    assert laplace_likelihood(noise, predicted, log_scale).item() == pytest.approx(expected, rel=1e-5)
    best = (noise - predicted).abs().mean().log()
    losses = [laplace_likelihood(noise, predicted, (best + off).expand(2, 3, 4, 4)).item() for off in (-0.1, 0, 0.1)]
    assert losses[1] == min(losses)


def test_two_opposite_components_have_a_closed_form() -> None:
    u = torch.tensor([1.0, -1.0, 0.5])
    vectors, classes = torch.stack([u, 2 * u, -u, -3 * u]), torch.tensor([0, 0, 1, 1])
    expected = np.log1p(2 * np.exp(-2 / 0.5))
    assert contrastive_loss(vectors, classes, 0.5).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("classes", [[], [1], [1, 1, 1], [0, 1, 2]])
def test_no_positive_or_no_negative_is_exactly_zero_with_a_gradient(classes: list[int]) -> None:
    vectors = torch.randn(len(classes), 4, requires_grad=True)
    loss = contrastive_loss(vectors, torch.tensor(classes, dtype=torch.int64), 0.1)
    loss.backward()
    assert loss.item() == 0
    assert vectors.grad is not None
    assert not vectors.grad.any()


def test_low_temperature_stays_finite() -> None:
    vectors = torch.randn(40, 5, requires_grad=True)
    loss = contrastive_loss(vectors, torch.arange(40) % 2, 1e-3)
    loss.backward()
    assert bool(torch.isfinite(loss))
    assert vectors.grad is not None
    assert bool(torch.isfinite(vectors.grad).all())


def test_sampling_takes_k_per_class_and_image_and_never_unannotated_pixels() -> None:
    labels = torch.full((2, 10, 10), 255)
    labels[0, :5] = 0
    labels[0, 5, :3] = 1
    labels[1, 0, 0] = 1  # a single pixel has no positive pair
    labels[1, 5:] = 2
    places, classes = sample_pixels(labels, 20, torch.Generator().manual_seed(0))
    assert torch.equal(labels.flatten()[places], classes)
    assert len(set(places.tolist())) == len(places)
    assert torch.bincount(classes, minlength=3).tolist() == [20, 3, 20]


def test_standardised_vectors_are_centred_and_scaled_per_step() -> None:
    grey = torch.rand(2, 3, 8, 8) * torch.tensor([1.0, 5.0, 0.2]).view(1, 3, 1, 1) + 4
    standard = standardise(grey)
    assert standard.mean(dim=(0, 2, 3)).abs().max().item() < 1e-4
    assert standard.std(dim=(0, 2, 3)).numpy() == pytest.approx(np.ones(3), abs=0.05)


def test_dice_loss_is_the_literal_one() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 6, 5, generator=generator)
    labels = torch.randint(0, 2, (2, 6, 5), generator=generator)  # class 2 is absent
    labels[0, 0] = 255
    probability = logits.softmax(1).numpy()
    dice = []
    for c in (0, 1):
        y = (labels == c).numpy().astype(float)
        p = probability[:, c] * (labels != 255).numpy()
        dice.append(2 * (p * y).sum() / (p.sum() + y.sum()))
    assert dice_loss(logits, labels).item() == pytest.approx(1 - np.mean(dice), rel=1e-5)


def test_perfect_prediction_costs_nothing_and_no_annotation_is_zero() -> None:
    labels = torch.arange(16).view(1, 4, 4) % 2
    logits = 100.0 * torch.nn.functional.one_hot(labels, 2).permute(0, 3, 1, 2)
    assert dice_loss(logits, labels).item() == pytest.approx(0, abs=1e-5)
    nothing = torch.full((1, 4, 4), 255)
    leaf = logits.clone().requires_grad_()
    total = dice_loss(leaf, nothing) + cross_entropy(leaf, nothing)
    total.backward()
    assert total.item() == 0
