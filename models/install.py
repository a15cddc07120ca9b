"""Check a model folder that came from outside, and install it: `python -m models.install {verify,add} …`.

Nothing in the folder is trusted. Only known files may lie in it, so no pickle and no code; the weights must be the file
that the config was written for, with exactly the tensors that the config's networks have; and one tile must go through.
"""

import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from models.checkpoint import CheckpointError, load_config
from models.command_line import CONTEXT, PATH, fail, run
from models.folder import CONFIG, WEIGHTS, ModelSpec
from models.ldiffusion import LDiffusion
from models.predictor import Predictor

_MIB: Final = 2**20
# What a model folder may hold, and how large each file may be.
_FILES: Final = {CONFIG: _MIB, WEIGHTS: 8192 * _MIB, "README.md": _MIB}
_NEEDED: Final = (CONFIG, WEIGHTS)
# No network anybody trains comes near; a hostile config must not make us build one that does.
_LARGEST_NUMBER: Final = 8192
_LARGEST_DEPTH: Final = 64
_MOST_ITEMS: Final = 256


def verify(folder: Path) -> ModelSpec:
    """Check a model folder and return its spec.

    Raises:
        CheckpointError: What is wrong, in a sentence.
    """
    _check_files(folder)
    spec = load_config(folder)
    _check_sizes("network", asdict(spec.network))
    _check_tensors(folder, spec)
    _try_out(folder, spec)
    return spec


def add(folder: Path, models_dir: Path, *, replace: bool = False) -> Path:
    """Verify a model folder and copy it into the folder of installed models, all of it or nothing.

    Raises:
        CheckpointError: The model is not valid, or one of its name is installed and `replace` is not set.
    """
    spec = verify(folder)
    place = models_dir / spec.name
    if place.exists() and not replace:
        raise CheckpointError(f"a model {spec.name!r} is installed already; --replace takes its place")
    models_dir.mkdir(parents=True, exist_ok=True)
    # A name with a dot is no model name: no running server lists the half-copied folder.
    with tempfile.TemporaryDirectory(dir=models_dir, prefix=".adding-") as draft:
        copied = Path(draft) / spec.name
        copied.mkdir()
        for name in _FILES:
            if (folder / name).is_file():
                shutil.copyfile(folder / name, copied / name)
        # What was copied is what is installed: the source may have changed meanwhile.
        verify(copied)
        if place.exists():
            place.rename(Path(draft) / "replaced")
        copied.rename(place)
    return place


def _check_files(folder: Path) -> None:
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is no folder")
    for path in sorted(folder.iterdir()):
        if path.name not in _FILES or path.is_symlink() or not path.is_file():
            accepted = ", ".join(_FILES)
            raise CheckpointError(
                f"{folder.name} holds {path.name!r}; a model folder holds plain files only: {accepted}"
            )
        if path.stat().st_size > _FILES[path.name]:
            limit = _FILES[path.name] // _MIB
            raise CheckpointError(f"{folder.name}/{path.name} has {path.stat().st_size} bytes, more than {limit} MiB")
    for name in _NEEDED:
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder.name} has no {name}")


def _check_sizes(name: str, value: Any) -> None:
    """Bound every number of the networks' config, however deep it lies."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_sizes(key, inner)
    elif isinstance(value, tuple):
        if len(value) > _MOST_ITEMS:
            raise CheckpointError(f"{name} has {len(value)} items; accepted: at most {_MOST_ITEMS}")
        for inner in value:
            _check_sizes(name, inner)
    elif isinstance(value, int | float):
        largest = _LARGEST_DEPTH if "depth" in name or "layers" in name else _LARGEST_NUMBER
        if not abs(value) <= largest:
            raise CheckpointError(f"{name} is {value}; accepted: at most {largest}")


def _check_tensors(folder: Path, spec: ModelSpec) -> None:
    """Compare names, shapes and types of the stored tensors with the config's networks, built without memory."""
    with torch.device("meta"):
        expected = {name: (tuple(t.shape), t.dtype) for name, t in LDiffusion(spec.network).state_dict().items()}
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise CheckpointError(f"{folder.name}/{WEIGHTS} is no safetensors file: {error}") from error
    if odd := sorted(set(shapes) ^ set(expected)):
        side = "is not in" if odd[0] in expected else "is not expected in"
        raise CheckpointError(f"tensor {odd[0]} {side} {folder.name}/{WEIGHTS} ({len(odd)} such)")
    for name, (shape, _) in expected.items():
        if shapes[name] != shape:
            raise CheckpointError(f"tensor {name} has shape {shapes[name]}, the config asks for {shape}")


def _try_out(folder: Path, spec: ModelSpec) -> None:
    """Load, which checks the digest, and run one tile: grey ramps, which no weights should turn into NaN."""
    predictor = Predictor.load(folder, "cpu")
    side = 4 * spec.stride_px
    ramp = np.linspace(0, 255, side, dtype=np.uint8)
    tile = np.stack([np.tile(ramp, (side, 1)), np.tile(ramp[:, None], (1, side)), np.full((side, side), 128)], axis=2)
    logits = predictor.logits(tile[None].astype(np.uint8), [(0, 0)], seed=0)
    if not bool(torch.isfinite(logits).all()):
        raise CheckpointError(f"{folder.name} gives numbers that are not finite on a plain tile")


def main(argv: list[str] | None = None) -> int:
    """Verify or add; 2 with one sentence when the model is refused."""
    return run(_models, "ldiffusion models", argv)


@click.group(context_settings=CONTEXT, no_args_is_help=False, help=__doc__.splitlines()[0])
def _models() -> None:
    pass


@_models.command("verify")
@click.argument("folder", type=PATH)
def _verify(folder: Path) -> int:
    """Check a model folder."""
    try:
        spec = verify(folder)
    except CheckpointError as error:
        return fail(error)
    sys.stdout.write(f"{spec.name}: whole, {len(spec.classes)} classes, {spec.mpp:g} µm/px\n")
    return 0


@_models.command("add")
@click.argument("folder", type=PATH)
@click.option("--models-dir", type=PATH, required=True, help="folder of installed models")
@click.option("--replace", is_flag=True, help="take the place of an installed model of this name")
def _add(folder: Path, models_dir: Path, *, replace: bool) -> int:
    """Check a model folder and install it."""
    try:
        place = add(folder, models_dir, replace=replace)
    except CheckpointError as error:
        return fail(error)
    sys.stdout.write(f"installed in {place}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
