"""A model on disk: `model.safetensors` and `config.json`. No pickle, ever.

`config.json` holds the network's config, the classes with their colours, the resolution, the tile and halo sizes, the
SHA-256 of the weights, and what the model's card says in figures. Its own SHA-256 is the model's digest, so it covers
weights and settings alike. Where it says that tiling is not exact, no halo makes the answer independent of the tiles.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

from safetensors.torch import load_file
from safetensors.torch import save as to_bytes

from models.config import LDiffusionConfig
from models.ldiffusion import LDiffusion

FORMAT: Final = 1
WEIGHTS: Final = "model.safetensors"
CONFIG: Final = "config.json"


@dataclass(frozen=True)
class ModelClass:
    """One class: index 0 is the background."""

    index: int
    name: str
    color: tuple[int, int, int]


@dataclass(frozen=True)
class ModelSpec:
    """`config.json`, parsed."""

    name: str
    title: str
    mpp: float
    classes: tuple[ModelClass, ...]
    tile_px: int
    halo_px: int
    stride_px: int
    license: str
    intended_use: str
    figures: dict[str, float]
    network: LDiffusionConfig
    training: dict[str, Any]

    def to_json(self, weights_sha256: str) -> str:
        """Return the text of `config.json`."""
        body = {
            "format": FORMAT,
            "name": self.name,
            "title": self.title,
            "mpp": self.mpp,
            "classes": [{"index": c.index, "name": c.name, "color": list(c.color)} for c in self.classes],
            "tile_px": self.tile_px,
            "halo_px": self.halo_px,
            "stride_px": self.stride_px,
            "exact_tiling": self.network.exact_tiling,
            "license": self.license,
            "intended_use": self.intended_use,
            "figures": self.figures,
            "weights_sha256": weights_sha256,
            "network": self.network.to_dict(),
            "training": self.training,
        }
        return json.dumps(body, indent=2) + "\n"


class CheckpointError(ValueError):
    """A model folder is incomplete, altered or of an unknown format."""

    code: ClassVar[str] = "model_invalid"


def save(folder: Path, model: LDiffusion, spec: ModelSpec) -> None:
    """Write a model folder; the config last, so that a folder with one is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / WEIGHTS
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    # Not `save_file`, whose files nobody but their owner can read: a server often runs as another user.
    weights.write_bytes(to_bytes(tensors))
    (folder / CONFIG).write_text(spec.to_json(file_sha256(weights)), encoding="utf-8")


def load_spec(folder: Path) -> tuple[ModelSpec, dict[str, Any], str]:
    """Read `config.json`: (spec, raw JSON, model digest).

    Raises:
        CheckpointError: It is missing, of another format, or lacks a field.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise CheckpointError(f"{folder.name} has no {CONFIG}")
    text = path.read_bytes()
    raw = json.loads(text)
    if raw.get("format") != FORMAT:
        raise CheckpointError(f"{folder.name} has format {raw.get('format')!r}, this version reads {FORMAT}")
    try:
        spec = ModelSpec(
            name=raw["name"],
            title=raw["title"],
            mpp=float(raw["mpp"]),
            classes=tuple(ModelClass(c["index"], c["name"], (*c["color"],)) for c in raw["classes"]),
            tile_px=int(raw["tile_px"]),
            halo_px=int(raw["halo_px"]),
            stride_px=int(raw["stride_px"]),
            license=raw["license"],
            intended_use=raw["intended_use"],
            figures=raw["figures"],
            network=LDiffusionConfig.from_dict(raw["network"]),
            training=raw["training"],
        )
    except KeyError as error:
        raise CheckpointError(f"{folder.name}/{CONFIG} lacks {error.args[0]!r}") from error
    return spec, raw, hashlib.sha256(text).hexdigest()


def load(folder: Path) -> tuple[LDiffusion, ModelSpec, str]:
    """Load a model folder on the CPU, in evaluation mode: (model, spec, model digest).

    Raises:
        CheckpointError: A file is missing, or the weights are not those the config names.
    """
    spec, raw, digest = load_spec(folder)
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise CheckpointError(f"{folder.name} has no {WEIGHTS}")
    if file_sha256(weights) != raw["weights_sha256"]:
        raise CheckpointError(f"{folder.name}/{WEIGHTS} is not the file its {CONFIG} was written for")
    model = LDiffusion(spec.network)
    model.load_state_dict(load_file(weights))
    return model.eval(), spec, digest


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
