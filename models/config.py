"""Sizes and settings of an L-Diffusion model, as frozen dataclasses with a JSON round trip."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeVar

T = TypeVar("T")

NoiseLaw = Literal["laplace", "gaussian", "student_t", "cauchy"]
BetaSchedule = Literal["linear", "scaled_linear", "cosine"]
StepMode = Literal["mean", "mode", "sample", "ddim"]


@dataclass(frozen=True)
class ScheduleConfig:
    """The noise law and ᾱ; `timesteps` are those of the step sequence, ascending, saved with the model."""

    law: NoiseLaw = "laplace"
    num_train_timesteps: int = 1000
    beta_schedule: BetaSchedule = "linear"
    beta_start: float = 1e-4
    beta_end: float = 0.02
    timesteps: tuple[int, ...] = (10, 70, 130, 190, 250)


@dataclass(frozen=True)
class NetworkConfig:
    """Widths and depths. Spatial sizes never appear: the networks take any multiple of `stride_px`."""

    latent_channels: int = 12
    latent_stride: int = 4
    encoder_width: int = 64
    encoder_depth: int = 2
    unet_widths: tuple[int, ...] = (48, 96, 160)
    unet_depth: int = 2
    dae_width: int = 64
    dae_depth: int = 4
    head_widths: tuple[int, ...] = (16, 48, 96, 160)
    head_depths: tuple[int, ...] = (0, 0, 0, 2)

    @property
    def stride_px(self) -> int:
        """Total stride in working px: the coarsest grid any of the networks samples on."""
        unet: int = self.latent_stride * 2 ** (len(self.unet_widths) - 1)
        head: int = 2 ** (len(self.head_widths) - 1)
        return max(unet, head)


@dataclass(frozen=True)
class LDiffusionConfig:
    """Everything needed to build the joined model again."""

    num_classes: int = 2
    input: Literal["sequence", "sequence+rgb"] = "sequence"
    sequence: Literal["parallel", "chain"] = "parallel"
    chain_mode: StepMode = "mean"
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)

    def __post_init__(self) -> None:
        """Check what would otherwise fail late, inside a network."""
        steps = self.schedule.timesteps
        if not steps or list(steps) != sorted(set(steps)):
            raise ValueError(f"timesteps must be distinct and ascending, got {steps}")
        if not 0 < steps[0] <= steps[-1] <= self.schedule.num_train_timesteps:
            raise ValueError(f"timesteps must lie in 1..{self.schedule.num_train_timesteps}, got {steps}")
        if self.num_classes < 2:
            raise ValueError(f"num_classes counts the background too and is at least 2, got {self.num_classes}")
        if self.sequence == "chain" and self.chain_mode != "ddim" and self.schedule.law != "laplace":
            raise ValueError(f"the exact posterior is Laplace's; with law {self.schedule.law!r} use chain_mode 'ddim'")

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; `from_dict` gives an equal config back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "LDiffusionConfig":
        """Build from `to_dict`'s output. An unknown key raises `ValueError` and is named."""
        rest = {key: value for key, value in data.items() if key not in ("schedule", "network")}
        return _build(
            cls,
            rest
            | {
                "schedule": _build(ScheduleConfig, data.get("schedule", {})),
                "network": _build(NetworkConfig, data.get("network", {})),
            },
        )


def _build(cls: type[T], data: dict[str, Any]) -> T:
    known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
    if unknown := sorted(set(data) - known):
        raise ValueError(f"{cls.__name__} has no {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in data.items()})


_TINY = NetworkConfig()
_BASE = NetworkConfig(
    latent_channels=16,
    encoder_width=128,
    encoder_depth=3,
    unet_widths=(128, 256, 384),
    unet_depth=3,
    dae_width=128,
    dae_depth=6,
    head_widths=(32, 96, 192, 384),
    head_depths=(0, 0, 3, 9),
)

PRESETS: dict[str, LDiffusionConfig] = {
    "tiny": LDiffusionConfig(network=_TINY),
    "base": LDiffusionConfig(
        schedule=ScheduleConfig(timesteps=(10, 40, 70, 100, 130, 160, 190, 220, 250, 280)), network=_BASE
    ),
    "paper": LDiffusionConfig(
        schedule=ScheduleConfig(timesteps=(10, 40, 70, 100, 130, 160, 190, 220, 250, 280)),
        network=NetworkConfig(
            latent_channels=16,
            encoder_width=192,
            encoder_depth=4,
            unet_widths=(192, 384, 576, 768),
            unet_depth=3,
            dae_width=192,
            dae_depth=8,
            head_widths=(32, 96, 192, 384, 768),
            head_depths=(0, 0, 3, 9, 3),
        ),
    ),
}
