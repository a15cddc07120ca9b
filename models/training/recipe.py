"""A training run's settings, read from a TOML file and checked before anything is trained."""

from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from models.config import PRESETS, LDiffusionConfig, ObjectConfig
from models.folder import Classes, ModelName, Pixels
from models.settings import SettingsError, Tables, check, overlay, read_toml, settings
from models.training.crops.augment import AugmentConfig
from models.training.crops.data import DatasetConfig
from models.training.loop import LoopConfig

Count = Annotated[int, Field(ge=1)]

STAGES: Final = ("stage0", "stage1", "denoise", "stage2", "joint")


@settings
class StageConfig(LoopConfig):
    """One stage. Weights that a stage does not use are ignored by it.

    With `bfloat16` on a CPU the segmentation network alone runs in bfloat16 autocast, half as long on a processor that
    has the instructions; the other networks stay in float32, where depthwise convolutions are faster.

    The contrastive weight is reached in a straight line over `contrastive_ramp_steps`; `contrastive_pairs` logs the
    loss of every two components by themselves too. `backbone_rate` is the learning rate of a pretrained backbone as a
    part of the others'.

    `t_max` draws the timesteps of every step of training from 1 to it: in stage 1 as many as the sequence has,
    elsewhere one a crop. 0: stage 1 takes the sequence's own, and elsewhere the largest of these is `t_max`.
    `train_encoder` lets the losses of stage 1 and the joint stage reach the encoder.

    The other settings are of what learns from images without labels (`models.training.unlabelled`): `restores` is what
    stage `denoise` predicts, by likelihood or by squared error (`likelihood`); `consistency` is how stage 2's second
    view is made, whose weight rises over `consistency_ramp_steps`, and which counts where the teacher, whose weights
    follow with `teacher_decay`, is sure by `consistency_threshold`.
    """

    vectors_per_class: int = 100
    temperature: float = 0.1
    noise_weight: float = 1.0
    contrastive_weight: float = 0.1
    reconstruction_weight: float = 0.5
    kl_weight: float = 1e-4
    dice_weight: float = 1.0
    cross_entropy_weight: float = 0.5
    interior_weight: float = 0.5
    backbone_rate: Annotated[float, Field(gt=0)] = 1.0
    contrastive_ramp_steps: int = 0
    contrastive_pairs: bool = False
    t_max: Annotated[int, Field(ge=0)] = 0
    train_encoder: bool = False
    restores: Literal["noise", "image"] = "noise"
    likelihood: bool = True
    consistency: Literal["", "noise", "photometric"] = ""
    consistency_weight: float = 1.0
    consistency_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.9
    consistency_ramp_steps: int = 100
    teacher_decay: Annotated[float, Field(ge=0, lt=1)] = 0.99


@settings
class Recipe:
    """Everything a run depends on, together with the data and the seed.

    Attributes:
        start: Models, by folder or by name if shipped, whose weights of the same names the run begins with; later ones
            win. See `models.training.start`.
        objects: What counts as one object (`models.objects`).
        least_solidity: Of a component without object numbers that counts as one object, for the interior map.
    """

    name: ModelName
    title: str
    mpp: Annotated[float, Field(gt=0)]
    license: str
    intended_use: str
    classes: Classes
    datasets: tuple[DatasetConfig, ...]
    model: LDiffusionConfig
    tests: tuple[DatasetConfig, ...] = ()
    start: tuple[str, ...] = ()
    objects: ObjectConfig = field(default_factory=ObjectConfig)
    least_solidity: Annotated[float, Field(ge=0, le=1)] = 0.0
    seed: int = 0
    crop_px: Pixels = 128
    tile_px: Pixels = 1024
    halo_px: Annotated[int, Field(ge=0)] = 64
    ema_decay: Annotated[float, Field(gt=0, lt=1)] = 0.995
    log_every: Count = 20
    validate_every: Count = 200
    tensorboard: bool = False
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    stages: dict[str, StageConfig] = field(default_factory=dict)

    def __post_init__(self) -> None:
        stride = self.model.network.stride_px
        for name in ("crop_px", "tile_px", "halo_px"):
            if getattr(self, name) % stride:
                raise ValueError(f"{name} is {getattr(self, name)}; accepted: a multiple of {stride}")
        self._check_stages()

    def _check_stages(self) -> None:
        form, count = self.model.form, self.model.schedule.num_train_timesteps
        with_steps = [name for name in STAGES if self.stage(name).steps]
        idle = [name for name in with_steps if name not in ("stage2", "denoise")]
        if idle and form == "none":
            raise ValueError(f"{idle[0]} has steps; with model.sequence 'none' there is stage2 alone")
        if form == "vectors" and (idle := [name for name in with_steps if name != "stage2"]):
            raise ValueError(f"{idle[0]} has steps; with model.network.vectors there is stage2 alone")
        if form == "maps" and self.beside:
            raise ValueError(
                "denoise and consistency learn by the image alone; with them model.sequence must be 'none'"
            )
        if self.beside and self.model.network.is_convnext:
            raise ValueError(f"denoise and consistency do not know the backbone {self.model.network.backbone!r}")
        if above := [name for name in with_steps if self.stage(name).t_max > count]:
            raise ValueError(f"{above[0]}.t_max is {self.stage(above[0]).t_max}; accepted: 0 to {count}")

    @property
    def beside(self) -> bool:
        """Whether training needs more than the model: a head that restores images, or a teacher."""
        return bool(self.stage("denoise").steps or self.stage("stage2").consistency)

    def stage(self, name: str) -> StageConfig:
        """Return a stage's settings; a stage the file leaves out has no steps."""
        return self.stages.get(name, StageConfig())


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe.

    Raises:
        SettingsError: A key is unknown or missing or has an impossible value, named together with what is accepted.
    """
    return parse_recipe(read_toml(path, path.name), path.name)


def parse_recipe(tables: Tables, file: str) -> Recipe:
    """Check a recipe's tables, read already; `file` says whose they are, for messages.

    Raises:
        SettingsError: See `load_recipe`.
    """
    classes, model = tables.get("classes"), tables.get("model", {})
    laid: Tables = {}
    if isinstance(classes, list):
        laid["classes"] = [{"index": i} | one if isinstance(one, dict) else one for i, one in enumerate(classes)]
        if isinstance(model, dict):
            laid["model"] = _over_preset(model, file) | {"num_classes": len(classes)}
    recipe = check(Recipe, tables | laid, file, {"stages": STAGES})
    if not recipe.datasets:
        raise SettingsError([f"{file}: datasets is empty; accepted: one or more"])
    return recipe


def _over_preset(model: Tables, file: str) -> Tables:
    """Return a table [model] laid over the preset that it names."""
    if "vae_config" in model:
        raise SettingsError([f"{file}: model.vae_config is read from the folder that vae names; it cannot be given"])
    preset = model.get("preset", "tiny")
    if preset not in PRESETS:
        raise SettingsError([f"{file}: model.preset is {preset!r}; accepted: {', '.join(PRESETS)}"])
    return overlay(asdict(PRESETS[preset]), {key: value for key, value in model.items() if key != "preset"})
