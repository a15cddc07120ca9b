"""Sizes and settings of an L-Diffusion model, checked by pydantic wherever one is made.

A config alone says how to build a model: no folder is read and nothing is downloaded for it. Where weights from outside
come in (`vae`, `backbone_weights`), `models.pretrained.weights` reads them, once, before training.
"""

from dataclasses import field
from typing import Annotated, Final, Literal

from pydantic import Field

from models.networks.sizes import NetworkConfig, VaeConfig, VectorConfig
from models.settings import settings

# What the settings are made of is part of this module: whoever builds models needs only this one.
__all__ = [
    "PRESETS",
    "LDiffusionConfig",
    "NetworkConfig",
    "ObjectConfig",
    "ScheduleConfig",
    "VaeConfig",
    "VectorConfig",
]

# The prefix of `vae`; a folder on disk follows.
DIFFUSERS: Final = "diffusers:"
_RGB: Final = 3

NoiseLaw = Literal["laplace", "laplace_b1", "gaussian", "student_t", "cauchy"]
BetaSchedule = Literal["linear", "scaled_linear", "cosine"]
StepMode = Literal["mean", "mode", "sample", "ddim"]
Input = Literal["sequence", "sequence+rgb"]
Sequence = Literal["parallel", "chain", "none"]
VectorStatistics = Literal["batch", "running"]
Form = Literal["maps", "vectors", "none"]
AboveZero = Annotated[float, Field(gt=0)]


@settings
class ScheduleConfig:
    """The noise law and ᾱ; `timesteps` are those of the step sequence, ascending, saved with the model.

    Attributes:
        component_gammas: γ_n, one a class with the background, or none: while U-Net and decoder are trained, a latent
            pixel known to be of component n has ᾱ_(n,t) = ᾱ_t^γ_n (Eq. 7, 10-12). γ < 1: less noise, for rare ones.
        component_scales: b_n in units of the shared law's scale, one a class, or none: that pixel's noise is so much
            wider.
    """

    law: NoiseLaw = "laplace"
    num_train_timesteps: int = 1000
    beta_schedule: BetaSchedule = "linear"
    beta_start: float = 1e-4
    beta_end: float = 0.02
    timesteps: tuple[int, ...] = (10, 70, 130, 190, 250)
    component_gammas: tuple[AboveZero, ...] = ()
    component_scales: tuple[AboveZero, ...] = ()


@settings
class ObjectConfig:
    """What counts as one object.

    Attributes:
        smallest_um2: Smaller objects stay in the labels and leave tables and polygons.
        prominence: A maximum of the interior, 0 to 1, is the marker of an object of its own if every way to a higher
            one leads down by more.
        smooth_um: Standard deviation in µm by which the interior is smoothed before, within its component.
        least_interior: A small component whose interior, 0 to 1, is nowhere as high is background: the network is not
            sure that it has a middle (`models.objects.shallow`).
    """

    smallest_um2: Annotated[float, Field(ge=0)] = 0.0
    prominence: Annotated[float, Field(gt=0, le=1)] = 0.25
    smooth_um: Annotated[float, Field(ge=0)] = 0.0
    least_interior: Annotated[float, Field(ge=0, le=1)] = 0.0


@settings
class LDiffusionConfig:
    """Everything needed to build the joined model again.

    Attributes:
        num_classes: The background counts too.
        input: What the segmentation network reads of a step sequence: the grey maps, or the image beside them.
        sequence: How the T steps are taken. With `none` there are none: the segmentation network reads the image alone,
            and encoder, U-Net and decoder are not built.
        interior_um: Distance from the border of an object, in µm, at which the interior map that the segmentation
            network gives beside the classes is full (`models.objects`); 0: it gives none.
        predict_scale: The U-Net predicts b_θ beside the noise, and learns by the law's likelihood (Eq. 12); Laplace's
            or the Gaussian one.
        vector_statistics: What the contrastive loss standardises pixel latent vectors by: the batch they are in, or
            running statistics over the data set, kept with the model.
        vae: `compact`, or `diffusers:<folder>` of an `AutoencoderKL`.
        vae_config: What that folder's `config.json` says, put here by `models.pretrained.weights.resolve`.
        colour: The segmentation network reads all three channels of every decoded image, 3T maps, and not their grey.
        scale_maps: It reads T more: log b_θ, where that is predicted, averaged over the latent's channels.
    """

    num_classes: Annotated[int, Field(ge=2)] = 2
    input: Input = "sequence"
    sequence: Sequence = "parallel"
    chain_mode: StepMode = "mean"
    predict_scale: bool = False
    vector_statistics: VectorStatistics = "batch"
    vae: str = "compact"
    vae_config: VaeConfig | None = None
    interior_um: Annotated[float, Field(ge=0)] = 0.0
    colour: bool = False
    scale_maps: bool = False
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)

    def __post_init__(self) -> None:
        """Check what would otherwise fail late, inside a network."""
        _check_timesteps(self.schedule)
        _check_components(self.schedule, self.num_classes)
        if self.schedule.law != "laplace":
            self._check_other_law()
        self._check_form()
        if self.vae != "compact" and not (self.vae.startswith(DIFFUSERS) and self.vae != DIFFUSERS):
            raise ValueError(f"vae is {self.vae!r}; it must be 'compact' or '{DIFFUSERS}<folder>'")
        if self.vae_config is not None:
            self._check_vae(self.vae_config)

    @property
    def exact_tiling(self) -> bool:
        """Whether a halo of finite size makes tiled and whole-image inference agree.

        Not with an `AutoencoderKL`: its group norms take statistics over space.
        """
        return self.vae == "compact"

    @property
    def form(self) -> Form:
        """What the diffusion is at inference: decoded maps, vectors among the features of the network, or nothing."""
        if self.sequence == "none":
            return "none"
        return "maps" if self.network.vectors is None else "vectors"

    @property
    def latent_grid(self) -> tuple[int, int]:
        """Channels and stride of z_0, which noise is drawn for."""
        net = self.network
        if net.vectors is not None:
            return net.vectors.channels, net.vectors.stride
        return net.latent_channels, net.latent_stride

    @property
    def vector_length(self) -> int:
        """Length of a pixel latent vector: T, T times the latent's channels, or 3T in colour."""
        each = self.latent_grid[0] if self.form == "vectors" else _RGB if self.colour else 1
        return each * len(self.schedule.timesteps)

    @property
    def head_channels(self) -> int:
        """Channels that the segmentation network reads: maps, and the image where it reads it."""
        if self.form != "maps":
            return _RGB
        scales = len(self.schedule.timesteps) if self.scale_maps else 0
        return self.vector_length + scales + (_RGB if self.input == "sequence+rgb" else 0)

    @property
    def head_outputs(self) -> int:
        """Channels that it gives: the classes' logits, and the interior map's where it gives one."""
        return self.num_classes + bool(self.interior_um)

    def _check_other_law(self) -> None:
        law = self.schedule.law
        if self.sequence == "chain" and self.chain_mode != "ddim":
            raise ValueError(f"the exact posterior is Laplace's; with law {law!r} use chain_mode 'ddim'")
        if self.predict_scale and law != "gaussian":
            raise ValueError(
                f"predict_scale learns by a Laplace or Gaussian likelihood; with law {law!r} it must be false"
            )

    def _check_form(self) -> None:
        if self.scale_maps and not self.predict_scale:
            raise ValueError("scale_maps shows the predicted scale; with it predict_scale must be true")
        if self.network.vectors is None:
            return
        if self.sequence != "parallel":
            raise ValueError(f"network.vectors takes all steps at once; sequence is {self.sequence!r}, not 'parallel'")
        if self.colour or self.scale_maps:
            raise ValueError("colour and scale_maps are of decoded maps; with network.vectors there are none")

    def _check_vae(self, vae: VaeConfig) -> None:
        net = self.network
        if (net.latent_channels, net.latent_stride) != (vae.latent_channels, vae.stride):
            raise ValueError(
                f"latent_channels and latent_stride are {net.latent_channels} and {net.latent_stride}; those of "
                f"{self.vae} are {vae.latent_channels} and {vae.stride}: set these"
            )


def _check_timesteps(schedule: ScheduleConfig) -> None:
    steps = schedule.timesteps
    if not steps or list(steps) != sorted(set(steps)):
        raise ValueError(f"timesteps must be distinct and ascending, got {steps}")
    if not 0 < steps[0] <= steps[-1] <= schedule.num_train_timesteps:
        raise ValueError(f"timesteps must lie in 1..{schedule.num_train_timesteps}, got {steps}")


def _check_components(schedule: ScheduleConfig, num_classes: int) -> None:
    laws = {"component_gammas": schedule.component_gammas, "component_scales": schedule.component_scales}
    for name, values in laws.items():
        if values and len(values) != num_classes:
            raise ValueError(f"{name} has {len(values)} numbers; it must have none, or one for each of {num_classes}")


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
