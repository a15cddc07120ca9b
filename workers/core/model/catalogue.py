"""The installed models: one folder each, known by its `config.json` alone, so that the gateway needs no torch."""

import logging
import re
from dataclasses import asdict
from pathlib import Path

from models.folder import CONFIG, FORMAT, NAME, WEIGHTS, ModelConfig, read_config
from workers.core.errors.base import ModelInvalid, ModelNotFound
from workers.core.model.schemas import ModelCard

logger = logging.getLogger(__name__)

_NAME = re.compile(NAME)

HEAVY_CPU_S_PER_MM2 = 10.0
"""Cost, as measured, from which a model is heavy."""

HEAVY_WEIGHTS_BYTES = 8 * 2**20
"""Size of the weights from which a model is heavy whose cost nobody has measured."""


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
    path = model_dir(models_dir, name) / CONFIG
    try:
        config = read_config(path.read_bytes(), CONFIG)
    except FileNotFoundError as error:
        raise ModelInvalid(f"The model folder has no {CONFIG}.", value=name) from error
    except ValueError as error:
        faults = "; ".join(str(error).splitlines())
        raise ModelInvalid(
            f"The model folder is not valid: {faults}.", value=name, accepted=f"{CONFIG} of format {FORMAT}"
        ) from error
    if config.name != name:
        raise ModelInvalid(f"The {CONFIG} belongs to a model of another name.", value=config.name, accepted=name)
    known = {key: value for key, value in asdict(config).items() if key in ModelCard.model_fields}
    known["objects"]["interior"] = config.network.interior_um > 0
    known["half"] = config.half is not None
    known["heavy"] = _is_heavy(config, path.with_name(WEIGHTS))
    return ModelCard(**known, digest=config.digest)


def _is_heavy(config: ModelConfig, weights: Path) -> bool:
    """Whether regions of a model are for workers with a GPU, by its cost; not measured: by the size of its weights."""
    if config.cpu_s_per_mm2 is not None:
        return config.cpu_s_per_mm2 >= HEAVY_CPU_S_PER_MM2
    try:
        return weights.stat().st_size >= HEAVY_WEIGHTS_BYTES
    except FileNotFoundError:  # whoever loads it says so
        return False


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
