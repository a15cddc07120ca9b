"""A training run's settings, read from a TOML file and checked before anything is trained."""

import tomllib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_args, get_origin

from models.config import PRESETS, LDiffusionConfig
from models.folder import ModelClass
from models.training.crops.augment import AugmentConfig
from models.training.crops.data import DatasetConfig
from models.training.loop import LoopConfig

T = TypeVar("T")

STAGES: Final = ("stage0", "stage1", "stage2", "joint")


@dataclass(frozen=True)
class StageConfig(LoopConfig):
    """One stage. Weights that a stage does not use are ignored by it.

    With `bfloat16` on a CPU the segmentation network alone runs in bfloat16 autocast, half as long on a processor that
    has the instructions; the other networks stay in float32, where depthwise convolutions are faster.

    The contrastive weight is reached in a straight line over `contrastive_ramp_steps`; `contrastive_pairs` logs the
    loss of every two components by themselves too.
    """

    vectors_per_class: int = 100
    temperature: float = 0.1
    noise_weight: float = 1.0
    contrastive_weight: float = 0.1
    reconstruction_weight: float = 0.5
    kl_weight: float = 1e-4
    dice_weight: float = 1.0
    cross_entropy_weight: float = 0.5
    contrastive_ramp_steps: int = 0
    contrastive_pairs: bool = False


@dataclass(frozen=True)
class Recipe:
    """Everything a run depends on, together with the data and the seed."""

    name: str
    title: str
    mpp: float
    license: str
    intended_use: str
    classes: tuple[ModelClass, ...]
    datasets: tuple[DatasetConfig, ...]
    model: LDiffusionConfig
    tests: tuple[DatasetConfig, ...] = ()
    seed: int = 0
    crop_px: int = 128
    tile_px: int = 1024
    halo_px: int = 64
    ema_decay: float = 0.995
    log_every: int = 20
    validate_every: int = 200
    tensorboard: bool = False
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    stages: dict[str, StageConfig] = field(default_factory=dict)

    def __post_init__(self) -> None:
        stride = self.model.network.stride_px
        for name in ("crop_px", "tile_px", "halo_px"):
            if getattr(self, name) % stride or getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be a multiple of {stride}")
        for name in ("mpp", "crop_px", "tile_px", "log_every", "validate_every"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        if not 0 < self.ema_decay < 1:
            raise ValueError(f"ema_decay is {self.ema_decay}; it must lie between 0 and 1")

    def stage(self, name: str) -> StageConfig:
        """Return a stage's settings; a stage the file leaves out has no steps."""
        return self.stages.get(name, StageConfig())


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe.

    Raises:
        ValueError: A key is unknown or missing or has an impossible value, named together with what is accepted.
    """
    try:
        return _parse(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error


def parse_recipe(raw: dict[str, Any]) -> Recipe:
    """Check a recipe's tables, read already, as `load_recipe` does; they are used up.

    Raises:
        ValueError: See there.
    """
    return _parse(raw)


def _parse(raw: dict[str, Any]) -> Recipe:
    classes = tuple(_class(i, table) for i, table in enumerate(raw.pop("classes", [])))
    if len(classes) < 2:
        raise ValueError(f"the recipe names {len(classes)} [[classes]]; a background and at least one more are needed")
    stages = {name: _build(StageConfig, raw.pop(name), f"[{name}]") for name in STAGES if name in raw}
    datasets, tests = (
        tuple(_build(DatasetConfig, item, f"[[{key}]]") for item in raw.pop(key, [])) for key in ("datasets", "tests")
    )
    if not datasets:
        raise ValueError("the recipe names no [[datasets]]")
    augment = _build(AugmentConfig, raw.pop("augment", {}), "[augment]")
    model = _model(raw.pop("model", {}), len(classes))
    parts = {"classes": classes, "datasets": datasets, "tests": tests}
    return _build(Recipe, raw | parts | {"model": model, "augment": augment, "stages": stages}, "the recipe")


def _class(index: int, table: dict[str, Any]) -> ModelClass:
    color = table.get("color", ())
    if set(table) != {"name", "color"} or len(color) != 3 or not all(c in range(256) for c in color):
        raise ValueError(
            f"[[classes]] number {index} is {table}; it must be a name and a color of three numbers 0..255"
        )
    return ModelClass(index, table["name"], (*color,))


def _model(raw: dict[str, Any], classes: int) -> LDiffusionConfig:
    if "vae_config" in raw:
        raise ValueError("[model] vae_config is read from the folder that vae names; it cannot be given")
    preset = raw.pop("preset", "tiny")
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}; known: {', '.join(PRESETS)}")
    base = PRESETS[preset]
    schedule = replace(base.schedule, **_settings(type(base.schedule), raw.pop("schedule", {}), "[model.schedule]"))
    network = replace(base.network, **_settings(type(base.network), raw.pop("network", {}), "[model.network]"))
    settings = _settings(LDiffusionConfig, raw, "[model]")
    return replace(base, **settings | {"num_classes": classes, "schedule": schedule, "network": network})


def _build(cls: type[T], data: dict[str, Any], where: str) -> T:
    try:
        return cls(**_settings(cls, data, where))
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from error
    except ValueError as error:
        raise ValueError(str(error) if str(error).startswith(where) else f"{where}: {error}") from error


def _settings(cls: type, data: dict[str, Any], where: str) -> dict[str, Any]:
    """Return a table's settings with tuples for arrays; a key that `cls` lacks, or another type, is an error."""
    known = {f.name: f.type for f in fields(cls)}
    if unknown := sorted(set(data) - set(known)):
        raise ValueError(f"{where} has no {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    for key, value in data.items():
        kind = known[key]
        if get_origin(kind) is Literal and value not in get_args(kind):
            raise ValueError(f"{where}: {key} is {value!r}; it must be one of {', '.join(map(repr, get_args(kind)))}")
        accepted = {bool: (bool,), int: (int,), float: (int, float), str: (str,)}.get(kind)  # type: ignore[arg-type]
        if accepted and (not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool)):
            raise ValueError(f"{where}: {key} is {value!r}; it must be {kind.__name__}")  # type: ignore[union-attr]
    return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
