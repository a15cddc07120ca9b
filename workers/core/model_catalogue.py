"""The installed models: one folder each, known by its `config.json` alone, so that the gateway needs no torch."""

import hashlib
import logging
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workers.core.errors.base import ModelInvalid, ModelNotFound
from workers.core.schemas import ModelCard, ModelClass

logger = logging.getLogger(__name__)

FORMAT = 1
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_DIGEST = r"^[0-9a-f]{64}$"


class _Config(BaseModel):
    """`config.json` as far as it concerns us; the network's own numbers are the predictor's."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int = Field(ge=FORMAT, le=FORMAT)
    name: str
    title: str
    mpp: float = Field(gt=0, allow_inf_nan=False)
    classes: tuple[ModelClass, ...] = Field(min_length=2)
    tile_px: int = Field(gt=0)
    halo_px: int = Field(ge=0)
    stride_px: int = Field(gt=0)
    license: str
    intended_use: str
    figures: dict[str, float] = Field(default_factory=dict)
    weights_sha256: str = Field(pattern=_DIGEST)
    network: dict[str, Any]


def locate(model: str, models_dir: Path) -> tuple[Path, str]:
    """Tell a model's name from a path to its folder: (folder that holds the model folder, name)."""
    path = Path(model)
    return (models_dir, model) if path.name == model else (path.resolve().parent, path.resolve().name)


def model_dir(models_dir: Path, name: str) -> Path:
    """Return the folder of a model.

    Raises:
        ModelNotFound: The name is no model name, or no folder has it.
    """
    folder = models_dir / name if _NAME.fullmatch(name) else None
    if folder is None or not folder.is_dir():
        installed = ", ".join(_folder_names(models_dir)) or "none is installed"
        raise ModelNotFound("No installed model has this name.", value=name, accepted=installed)
    return folder


def find_model(models_dir: Path, name: str) -> ModelCard:
    """Return the card of an installed model.

    Raises:
        ModelNotFound: No folder has this name.
        ModelInvalid: Its `config.json` is missing, broken, of another format or another model's.
    """
    path = model_dir(models_dir, name) / "config.json"
    try:
        content = path.read_bytes()
        config = _Config.model_validate_json(content)
    except FileNotFoundError as error:
        raise ModelInvalid("The model folder has no config.json.", value=name) from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ModelInvalid(
            f"The config.json of the model is not valid at {field}: {first['msg']}.",
            value=name,
            accepted=f"config.json of format {FORMAT}",
        ) from error
    _check(config, name)
    fields = config.model_dump(exclude={"format", "weights_sha256", "network"})
    return ModelCard(**fields, digest=hashlib.sha256(content).hexdigest())


def list_models(models_dir: Path) -> list[ModelCard]:
    """Return the cards of all models that are whole, by name. A broken folder is skipped and logged."""
    cards = []
    for name in _folder_names(models_dir):
        try:
            cards.append(find_model(models_dir, name))
        except ModelInvalid as error:
            logger.warning("model %s is left out: %s", name, error.message)
    return cards


def _folder_names(models_dir: Path) -> list[str]:
    if not models_dir.is_dir():
        return []
    return sorted(path.name for path in models_dir.iterdir() if path.is_dir() and _NAME.fullmatch(path.name))


def _check(config: _Config, name: str) -> None:
    if config.name != name:
        raise ModelInvalid("The config.json belongs to a model of another name.", value=config.name, accepted=name)
    indices = [item.index for item in config.classes]
    if indices != list(range(len(indices))):
        raise ModelInvalid(
            "The classes of the model are not numbered 0, 1, 2, … in order.", value=indices, accepted="0 = background"
        )
    if any(not 0 <= channel <= 255 for item in config.classes for channel in item.color):
        raise ModelInvalid("A class colour of the model is outside 0..255.", value=name)
    if config.tile_px % config.stride_px:
        raise ModelInvalid(
            "The tile side of the model is not a multiple of its stride.",
            value=config.tile_px,
            accepted=f"a multiple of {config.stride_px}",
        )
