"""A training run's settings, read from a TOML file and checked before anything is trained."""

import tomllib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from models.checkpoint import ModelClass
from models.config import PRESETS, LDiffusionConfig
from models.training.augment import AugmentConfig
from models.training.data import DatasetConfig

T = TypeVar("T")

STAGES: Final = ("stage0", "stage1", "stage2", "joint")


@dataclass(frozen=True)
class StageConfig:
    """One stage. Weights that a stage does not use are ignored by it.

    With `bfloat16` the segmentation network runs in bfloat16 autocast, half as long on a processor that has the
    instructions; the other networks stay in float32, where depthwise convolutions are faster.
    """

    steps: int = 0
    batch: int = 8
    lr: float = 1e-3
    warmup_steps: int = 50
    vectors_per_class: int = 100
    temperature: float = 0.1
    noise_weight: float = 1.0
    contrastive_weight: float = 0.1
    reconstruction_weight: float = 0.5
    kl_weight: float = 1e-4
    dice_weight: float = 1.0
    cross_entropy_weight: float = 0.5
    bfloat16: bool = False


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
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    stages: dict[str, StageConfig] = field(default_factory=dict)

    def stage(self, name: str) -> StageConfig:
        """Return a stage's settings; a stage the file leaves out has no steps."""
        return self.stages.get(name, StageConfig())


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe.

    Raises:
        ValueError: A key is unknown or missing, named together with what is accepted.
    """
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    classes = tuple(ModelClass(i, c["name"], (*c["color"],)) for i, c in enumerate(raw.pop("classes", [])))
    model = raw.pop("model", {})
    preset = model.pop("preset", "tiny")
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}; known: {', '.join(PRESETS)}")
    base = PRESETS[preset]
    schedule = replace(base.schedule, **_tuples(model.pop("schedule", {})))
    network = replace(base.network, **_tuples(model.pop("network", {})))
    config = replace(base, num_classes=len(classes), schedule=schedule, network=network, **model)
    stages = {name: _build(StageConfig, raw.pop(name)) for name in STAGES if name in raw}
    datasets, tests = (tuple(_build(DatasetConfig, item) for item in raw.pop(key, [])) for key in ("datasets", "tests"))
    if not datasets:
        raise ValueError("the recipe names no [[datasets]]")
    augment = _build(AugmentConfig, raw.pop("augment", {}))
    parts = {"classes": classes, "datasets": datasets, "tests": tests}
    return _build(Recipe, raw | parts | {"model": config, "augment": augment, "stages": stages})


def _tuples(data: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}


def _build(cls: type[T], data: dict[str, Any]) -> T:
    known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
    if unknown := sorted(set(data) - known):
        raise ValueError(f"{cls.__name__} has no {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    try:
        return cls(**_tuples(data))
    except TypeError as error:
        raise ValueError(f"{cls.__name__}: {error}") from error
