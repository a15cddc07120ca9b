"""LaplaceScheduler: the noise schedule on diffusers' scheduler contract, for those who bring one or want one.

A model of ours has the schedule itself (`models.schedule`): to import diffusers takes longer than to load the model.
"""

from dataclasses import dataclass

import models.torch_compat  # noqa: F401  (before diffusers)

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from diffusers.utils.outputs import BaseOutput
from torch import Tensor

from models.config import BetaSchedule, NoiseLaw, StepMode
from models.schedule import LaplaceSchedule


@dataclass
class LaplaceSchedulerOutput(BaseOutput):
    """`prev_sample` z_{t'} and `pred_original_sample` ẑ_0, both (N, C, h, w)."""

    prev_sample: Tensor
    pred_original_sample: Tensor


class LaplaceScheduler(LaplaceSchedule, SchedulerMixin, ConfigMixin):  # type: ignore[misc]
    """The schedule with a config that is saved and loaded, and outputs, as diffusers has them; arguments as there."""

    order = 1

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_schedule: BetaSchedule = "linear",
        beta_start: float = 1e-4,
        beta_end: float = 0.02,
        law: NoiseLaw = "laplace",
    ) -> None:
        super().__init__(num_train_timesteps, beta_schedule, beta_start, beta_end, law)

    def step(  # type: ignore[override]
        self,
        model_output: Tensor,
        timestep: int,
        sample: Tensor,
        mode: StepMode = "mean",
        uniforms: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> LaplaceSchedulerOutput:
        """Walk as `LaplaceSchedule.step` does."""
        walked = super().step(model_output, timestep, sample, mode, uniforms, generator)
        return LaplaceSchedulerOutput(prev_sample=walked.prev_sample, pred_original_sample=walked.pred_original_sample)
