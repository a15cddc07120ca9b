"""LaplaceScheduler: the schedule by its defining equation, the step by the posterior's own."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.config import BetaSchedule, ScheduleConfig, StepMode
from models.noise import LAPLACE_SCALE, sample
from models.scheduler import LaplaceScheduler

LATENT = (2, 3, 4, 4)


def latents(seed: int) -> torch.Tensor:
    return torch.randn(LATENT, generator=torch.Generator().manual_seed(seed))


def test_linear_alpha_bar_is_the_product_of_one_minus_beta() -> None:
    scheduler = LaplaceScheduler(num_train_timesteps=50, beta_start=1e-3, beta_end=0.05)
    product = 1.0
    for t in range(51):
        assert scheduler.alphas_cumprod[t].item() == pytest.approx(product)
        product *= 1 - (1e-3 + (0.05 - 1e-3) * t / 49)


def test_scaled_linear_is_linear_in_the_root() -> None:
    bar = LaplaceScheduler(20, "scaled_linear", 1e-3, 0.05).alphas_cumprod.numpy()
    betas = 1 - bar[1:] / bar[:-1]
    np.testing.assert_allclose(np.diff(np.sqrt(betas), 2), 0, atol=1e-12)
    assert betas[[0, -1]] == pytest.approx([1e-3, 0.05])


def test_cosine_alpha_bar_is_its_squared_cosine() -> None:
    scheduler = LaplaceScheduler(1000, "cosine")
    for t in (1, 250, 500, 900):
        shape = [np.cos((u / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2 for u in (t, 0)]
        assert scheduler.alphas_cumprod[t].item() == pytest.approx(shape[0] / shape[1], rel=1e-6)


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "cosine"])
def test_config_survives_a_round_trip_through_json(schedule: BetaSchedule, tmp_path: Path) -> None:
    scheduler = LaplaceScheduler(num_train_timesteps=77, beta_schedule=schedule, law="student_t")
    scheduler.save_pretrained(tmp_path)
    again = LaplaceScheduler.from_pretrained(tmp_path)
    assert again.config.num_train_timesteps == 77
    assert (again.config.beta_schedule, again.law) == (schedule, "student_t")
    assert torch.equal(again.alphas_cumprod, scheduler.alphas_cumprod)


def test_true_noise_gives_the_clean_latent_back() -> None:
    scheduler = LaplaceScheduler()
    z0, noise, t = latents(0), latents(1), torch.tensor([40, 700])
    noisy = scheduler.add_noise(z0, noise, t)
    bar = scheduler.alphas_cumprod[t[1]].item()
    torch.testing.assert_close(noisy[1], bar**0.5 * z0[1] + (1 - bar) ** 0.5 * noise[1])
    torch.testing.assert_close(scheduler.predict_original(noise, t, noisy), z0, atol=1e-3, rtol=1e-3)


def test_each_pixel_has_its_components_schedule() -> None:
    """ᾱ_(n,t) = ᾱ_t^γ_n, pixel by pixel, and its noise taken away again by the same schedule."""
    scheduler = LaplaceScheduler()
    z0, noise, t = latents(0), latents(1), torch.tensor([40, 700])
    gamma = torch.tensor([0.3, 1.0, 2.5]).repeat(11)[:32].view(2, 1, 4, 4)
    noisy = scheduler.add_noise(z0, noise, t, gamma)
    for n, c, i, j in np.ndindex(LATENT):
        bar = scheduler.alphas_cumprod[t[n]].item() ** gamma[n, 0, i, j].item()
        expected = bar**0.5 * z0[n, c, i, j].item() + (1 - bar) ** 0.5 * noise[n, c, i, j].item()
        assert noisy[n, c, i, j].item() == pytest.approx(expected, abs=1e-6)
    torch.testing.assert_close(scheduler.predict_original(noise, t, noisy, gamma), z0, atol=1e-2, rtol=1e-2)
    assert torch.equal(scheduler.add_noise(z0, noise, t, torch.ones(2, 1, 4, 4)), scheduler.add_noise(z0, noise, t))


def test_ddim_with_true_noise_lands_on_the_marginal_of_the_next_step() -> None:
    scheduler = LaplaceScheduler.from_schedule(ScheduleConfig(timesteps=(50, 200, 400)))
    z0, noise = latents(0), latents(1)
    at = scheduler.add_noise(z0, noise, torch.tensor([400, 400]))
    output = scheduler.step(noise, 400, at, mode="ddim")
    torch.testing.assert_close(output.prev_sample, scheduler.add_noise(z0, noise, torch.tensor([200, 200])))


@pytest.mark.parametrize("mode", ["mean", "mode", "sample", "ddim"])
def test_the_last_step_ends_on_the_clean_latent(mode: StepMode) -> None:
    scheduler = LaplaceScheduler.from_schedule(ScheduleConfig(timesteps=(50, 200)))
    output = scheduler.step(latents(1), 50, latents(0), mode=mode)
    assert torch.equal(output.prev_sample, output.pred_original_sample)


def test_posterior_has_the_kinks_and_weights_of_the_strided_schedule() -> None:
    scheduler = LaplaceScheduler()
    x_t, x_0 = latents(0), latents(1)
    posterior = scheduler.posterior(x_t, x_0, 300, 120)
    bar_t, bar_p = scheduler.alphas_cumprod[300].item(), scheduler.alphas_cumprod[120].item()
    alpha = bar_t / bar_p
    torch.testing.assert_close(posterior.k1, x_t / alpha**0.5)
    torch.testing.assert_close(posterior.k2, bar_p**0.5 * x_0)
    assert posterior.w1.item() == pytest.approx(alpha**0.5 / (LAPLACE_SCALE * (1 - alpha) ** 0.5))
    assert posterior.w2.item() == pytest.approx(1 / (LAPLACE_SCALE * (1 - bar_p) ** 0.5))


def test_posterior_is_bayes_rule_on_the_marginals() -> None:
    """On a grid: q(x_t | x_p) q(x_p | x_0), both Laplace, normalised, has the mean that `step` returns."""
    scheduler = LaplaceScheduler.from_schedule(ScheduleConfig(timesteps=(120, 300)))
    bar_t, bar_p = (scheduler.alphas_cumprod[t].item() for t in (300, 120))
    alpha, x_t = bar_t / bar_p, 0.8
    noise = torch.full((1, 1, 1, 1), -0.4)
    output = scheduler.step(noise, 300, torch.full((1, 1, 1, 1), x_t), mode="mean")
    x_0 = output.pred_original_sample.item()
    grid = np.linspace(-12, 12, 200_001)
    forward = np.exp(-np.abs(x_t - alpha**0.5 * grid) / (LAPLACE_SCALE * (1 - alpha) ** 0.5))
    prior = np.exp(-np.abs(grid - bar_p**0.5 * x_0) / (LAPLACE_SCALE * (1 - bar_p) ** 0.5))
    expected = (grid * forward * prior).sum() / (forward * prior).sum()
    assert output.prev_sample.item() == pytest.approx(expected, abs=1e-4)


def test_sample_mode_is_reproducible_and_scattered() -> None:
    scheduler = LaplaceScheduler.from_schedule(ScheduleConfig(timesteps=(50, 200)))
    arguments = (latents(0), 200, latents(1))
    first = scheduler.step(*arguments, mode="sample", generator=torch.Generator().manual_seed(3)).prev_sample
    again = scheduler.step(*arguments, mode="sample", generator=torch.Generator().manual_seed(3)).prev_sample
    other = scheduler.step(*arguments, mode="sample", generator=torch.Generator().manual_seed(4)).prev_sample
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_set_timesteps_descends_from_t_max_to_t_min() -> None:
    scheduler = LaplaceScheduler()
    scheduler.set_timesteps(5, t_min=10, t_max=250)
    assert scheduler.timesteps.tolist() == [250, 190, 130, 70, 10]
    with pytest.raises(ValueError, match="do not fit"):
        scheduler.set_timesteps(5, t_min=10, t_max=12)


def test_exact_modes_are_refused_for_other_laws() -> None:
    scheduler = LaplaceScheduler.from_schedule(ScheduleConfig(law="gaussian", timesteps=(50, 200)))
    with pytest.raises(ValueError, match="use 'ddim'"):
        scheduler.step(latents(0), 200, latents(1), mode="mean")


def test_laplace_marginals_do_not_compose() -> None:
    """Why the marginals are defined, not derived: two fused steps have another kurtosis than one."""
    generator = torch.Generator().manual_seed(0)
    one, two = (sample("laplace", (400_000,), generator).double() for _ in range(2))
    fused = (one + two) / 2**0.5

    def excess_kurtosis(x: torch.Tensor) -> float:
        return ((x - x.mean()) ** 4).mean().item() / x.var().item() ** 2 - 3

    assert excess_kurtosis(one) == pytest.approx(3, abs=0.35)
    assert excess_kurtosis(fused) == pytest.approx(1.5, abs=0.25)
