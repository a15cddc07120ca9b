"""A model on disk: `model.safetensors` and `config.json`, whose schema is `models.folder`. No pickle, ever.

Where the config says that tiling is not exact, no halo makes the answer independent of the tiles.
"""

import hashlib
from pathlib import Path
from typing import ClassVar

from safetensors.torch import load_file
from safetensors.torch import save as to_bytes

from models.folder import CONFIG, WEIGHTS, ModelConfig, ModelSpec, read_config
from models.ldiffusion import COMPANION, LDiffusion


class CheckpointError(ValueError):
    """A model folder is incomplete, altered or of an unknown format."""

    code: ClassVar[str] = "model_invalid"


def save(folder: Path, model: LDiffusion, spec: ModelSpec) -> None:
    """Write a model folder; the config last, so that a folder with one is complete.

    What stands beside the model in training alone is left out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / WEIGHTS
    shipped = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(f"{COMPANION}.")}
    tensors = {name: tensor.contiguous() for name, tensor in shipped.items()}
    # Not `save_file`, whose files nobody but their owner can read: a server often runs as another user.
    weights.write_bytes(to_bytes(tensors))
    (folder / CONFIG).write_text(spec.to_json(file_sha256(weights)), encoding="utf-8")


def load_config(folder: Path) -> ModelConfig:
    """Read `config.json`.

    Raises:
        CheckpointError: It is missing, of another format, or not valid.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise CheckpointError(f"{folder.name} has no {CONFIG}")
    try:
        return read_config(path.read_bytes(), f"{folder.name}/{CONFIG}")
    except ValueError as error:
        raise CheckpointError(str(error)) from error


def load(folder: Path) -> tuple[LDiffusion, ModelSpec, str]:
    """Load a model folder on the CPU, in evaluation mode: (model, spec, model digest).

    Raises:
        CheckpointError: A file is missing, or the weights are not those the config names.
    """
    config = load_config(folder)
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise CheckpointError(f"{folder.name} has no {WEIGHTS}")
    if file_sha256(weights) != config.weights_sha256:
        raise CheckpointError(f"{folder.name}/{WEIGHTS} is not the file its {CONFIG} was written for")
    model = LDiffusion(config.network)
    model.load_state_dict(load_file(weights))
    return model.eval(), config, config.digest


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
