"""A training run's settings, read from a TOML file and checked before anything is trained."""

from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from models.config import PRESETS, LDiffusionConfig, ObjectConfig
from models.folder import Classes, ModelName, Pixels
from models.settings import SettingsError, Tables, check, overlay, read_toml, settings
from models.training.crops.augment import AugmentConfig
from models.training.crops.data import DatasetConfig
from models.training.loop import LoopConfig

Count = Annotated[int, Field(ge=1)]

STAGES: Final = ("stage0", "stage1", "stage2", "joint")


@settings
class StageConfig(LoopConfig):
    """One stage. Weights that a stage does not use are ignored by it.

    With `bfloat16` on a CPU the segmentation network alone runs in bfloat16 autocast, half as long on a processor that
    has the instructions; the other networks stay in float32, where depthwise convolutions are faster.

    The contrastive weight is reached in a straight line over `contrastive_ramp_steps`; `contrastive_pairs` logs the
    loss of every two components by themselves too. `backbone_rate` is the learning rate of a pretrained backbone as a
    part of the others'.
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
        idle = [name for name in STAGES if name != "stage2" and self.stage(name).steps]
        if idle and self.model.sequence == "none":
            raise ValueError(f"{idle[0]} has steps; with model.sequence 'none' there is stage2 alone")

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
