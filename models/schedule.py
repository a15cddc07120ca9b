"""The noise schedule: the forward marginals and the reverse step. `models.scheduler` has it on diffusers' contract.

The marginals q(z_t | z_0) are *defined* as √ᾱ_t z_0 + √(1−ᾱ_t) ε with ε of the chosen law (Eq. 5). Laplace noise is
not closed under addition (a sum of two has excess kurtosis 1.5, a Laplace law 3), so no claim is made that steps
compose (Eq. 9-11 do); neither training nor the parallel step sequence needs it. Where components have schedules of
their own, ᾱ_(n,t) = ᾱ_t^γ_n (Eq. 10): each is a schedule again, from 1 down to 0, and γ = 1 is the shared one.
"""

import math
from dataclasses import dataclass
from typing import Final, Self

import torch
from torch import Tensor

from models.config import BetaSchedule, NoiseLaw, ScheduleConfig, StepMode
from models.noise import LAPLACE_SCALE
from models.posterior import PiecewiseExponential

_COSINE_OFFSET: Final = 0.008
_MAX_BETA: Final = 0.999


@dataclass(frozen=True)
class Walked:
    """`prev_sample` z_{t'} and `pred_original_sample` ẑ_0, both (N, C, h, w)."""

    prev_sample: Tensor
    pred_original_sample: Tensor


def make_alphas_cumprod(schedule: BetaSchedule, count: int, beta_start: float, beta_end: float) -> Tensor:
    """Return ᾱ_1 … ᾱ_count, (count,) float64; ᾱ_t = Π_{i≤t} (1 − β_i)."""
    if schedule == "linear":
        betas = torch.linspace(beta_start, beta_end, count, dtype=torch.float64)
    elif schedule == "scaled_linear":
        betas = torch.linspace(beta_start**0.5, beta_end**0.5, count, dtype=torch.float64) ** 2
    elif schedule == "cosine":
        times = torch.arange(count + 1, dtype=torch.float64) / count
        bar = torch.cos((times + _COSINE_OFFSET) / (1 + _COSINE_OFFSET) * math.pi / 2) ** 2
        betas = (1 - bar[1:] / bar[:-1]).clamp_max(_MAX_BETA)
    else:
        raise ValueError(f"unknown beta_schedule {schedule!r}; known: linear, scaled_linear, cosine")
    return torch.cumprod(1 - betas, dim=0)


class LaplaceSchedule:
    """Noise schedule of L-Diffusion. Timesteps count from 1; t = 0 is the clean latent (ᾱ_0 = 1).

    Args:
        num_train_timesteps: Length of the full schedule.
        beta_schedule: `linear`, `scaled_linear` or `cosine`.
        beta_start: β_1 (not used by `cosine`).
        beta_end: β of the last step (not used by `cosine`).
        law: Noise law of the marginals.
    """

    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_schedule: BetaSchedule = "linear",
        beta_start: float = 1e-4,
        beta_end: float = 0.02,
        law: NoiseLaw = "laplace",
    ) -> None:
        bar = make_alphas_cumprod(beta_schedule, num_train_timesteps, beta_start, beta_end)
        self.alphas_cumprod = torch.cat([torch.ones(1, dtype=torch.float64), bar])
        self.law = law
        self.count = num_train_timesteps
        self.timesteps = torch.arange(num_train_timesteps, 0, -1)

    @classmethod
    def from_schedule(cls, config: ScheduleConfig) -> Self:
        """Build from a model's config, its timesteps set."""
        schedule = cls(config.num_train_timesteps, config.beta_schedule, config.beta_start, config.beta_end, config.law)
        schedule.timesteps = torch.tensor(config.timesteps[::-1])
        return schedule

    def set_timesteps(self, num_inference_steps: int, t_min: int = 1, t_max: int | None = None) -> None:
        """Choose evenly spaced timesteps in [t_min, t_max], descending, as `self.timesteps`.

        Raises:
            ValueError: There are fewer than `num_inference_steps` integers in the range.
        """
        last = self.count if t_max is None else t_max
        if not 1 <= t_min <= last <= self.count or num_inference_steps < 1:
            raise ValueError(f"need 1 ≤ t_min ≤ t_max ≤ {self.count}, got {t_min}, {last}")
        if last - t_min + 1 < num_inference_steps:
            raise ValueError(f"{num_inference_steps} distinct timesteps do not fit in [{t_min}, {last}]")
        self.timesteps = torch.linspace(last, t_min, num_inference_steps).round().long()

    def signal_and_noise(self, t: Tensor, gamma: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return √ᾱ_t and √(1−ᾱ_t), (N, 1, 1, 1) float32, for t of shape (N,).

        With exponents `gamma` (N, 1, h, w), those of ᾱ_t^γ instead, (N, 1, h, w).
        """
        bar = self.alphas_cumprod.to(t.device)[t].view(-1, 1, 1, 1)
        if gamma is not None:
            bar = bar ** gamma.double()
        return bar.sqrt().float(), (1 - bar).sqrt().float()

    def add_noise(
        self, original_samples: Tensor, noise: Tensor, timesteps: Tensor, gamma: Tensor | None = None
    ) -> Tensor:
        """Return z_t = √ᾱ_t z_0 + √(1−ᾱ_t) ε (Eq. 5); samples and noise (N, C, h, w), timesteps (N,).

        `gamma` (N, 1, h, w): exponents of the components' own schedules (Eq. 10); the shared one if not given.
        """
        signal, scale = self.signal_and_noise(timesteps, gamma)
        return signal * original_samples + scale * noise

    def predict_original(
        self, model_output: Tensor, timesteps: Tensor, sample: Tensor, gamma: Tensor | None = None
    ) -> Tensor:
        """Return ẑ_0 = (z_t − √(1−ᾱ_t) ε̂)/√ᾱ_t: Eq. 5 solved for z_0; `gamma` as for `add_noise`."""
        signal, scale = self.signal_and_noise(timesteps, gamma)
        return (sample - scale * model_output) / signal

    def previous_timestep(self, timestep: int) -> int:
        """Return the next lower chosen timestep, 0 after the last."""
        lower = self.timesteps[self.timesteps < timestep]
        return int(lower.max()) if lower.numel() else 0

    def posterior(self, sample: Tensor, original: Tensor, timestep: int, previous: int) -> PiecewiseExponential:
        """Return q(z_{t'} | z_t, z_0) with α_t = ᾱ_t/ᾱ_{t'} of the strided schedule (Eq. 14); needs t' ≥ 1."""
        bar_t, bar_prev = float(self.alphas_cumprod[timestep]), float(self.alphas_cumprod[previous])
        alpha = bar_t / bar_prev
        w1 = math.sqrt(alpha) / (LAPLACE_SCALE * math.sqrt(1 - alpha))
        w2 = 1 / (LAPLACE_SCALE * math.sqrt(1 - bar_prev))
        return PiecewiseExponential(
            k1=sample / math.sqrt(alpha),
            w1=sample.new_tensor(w1),
            k2=math.sqrt(bar_prev) * original,
            w2=sample.new_tensor(w2),
        )

    def step(
        self,
        model_output: Tensor,
        timestep: int,
        sample: Tensor,
        mode: StepMode = "mean",
        uniforms: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Walked:
        """Walk from z_t to z_{t'}, t' the next lower chosen timestep.

        Args:
            model_output: ε̂, (N, C, h, w).
            timestep: t, one of `self.timesteps`.
            sample: z_t, (N, C, h, w).
            mode: `mean`, `mode` or `sample` of the exact Laplace posterior, or `ddim`.
            uniforms: For `sample`: probabilities in (0, 1), (N, C, h, w); drawn from `generator` if not given.
            generator: Source of the uniforms, for training and experiments.

        Raises:
            ValueError: An exact mode is asked for a law other than Laplace, or `mode` is unknown.
        """
        # 1. The clean latent that ε̂ implies (Eq. 5).
        t = torch.full((sample.shape[0],), timestep, device=sample.device)
        original = self.predict_original(model_output, t, sample)
        previous = self.previous_timestep(timestep)
        # 2. At t' = 0 every law's posterior is a point mass on it.
        if previous == 0:
            return Walked(prev_sample=original, pred_original_sample=original)
        # 3. Deterministic walk along the predicted noise.
        if mode == "ddim":
            walked = self.add_noise(original, model_output, torch.full_like(t, previous))
            return Walked(prev_sample=walked, pred_original_sample=original)
        if self.law != "laplace":
            raise ValueError(
                f"mode {mode!r} is exact for the laplace law only, this schedule has {self.law!r}: use 'ddim'"
            )
        # 4. The two-kink posterior (Eq. 14).
        posterior = self.posterior(sample, original, timestep, previous)
        if mode == "mean":
            walked = posterior.mean()
        elif mode == "mode":
            walked = posterior.mode()
        elif mode == "sample":
            if uniforms is None:
                uniforms = torch.rand(sample.shape, generator=generator, device=sample.device)
            walked = posterior.icdf(uniforms)
        else:
            raise ValueError(f"unknown mode {mode!r}; known: mean, mode, sample, ddim")
        return Walked(prev_sample=walked, pred_original_sample=original)

    def __len__(self) -> int:
        """Return the number of training timesteps."""
        return self.count
