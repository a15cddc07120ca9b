"""A model folder from outside: every kind of tampering is refused, and installing is all or nothing."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.checkpoint import CheckpointError, load
from models.folder import CONFIG, WEIGHTS
from models.install import add, main, verify


@pytest.fixture
def given(random_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(random_model, tmp_path / "given" / random_model.name))


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    config = json.loads((folder / CONFIG).read_text())
    change(config)
    (folder / CONFIG).write_text(json.dumps(config))


def reweigh(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """Change the weights and make the digest right again, as somebody who tampers on purpose would."""
    import hashlib

    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)
    digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    edit(folder, lambda config: config.update(weights_sha256=digest))


def test_a_whole_model_is_installed_and_loads(given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models_dir = tmp_path / "models"
    assert main(["add", str(given), "--models-dir", str(models_dir)]) == 0
    place = models_dir / given.name
    assert capsys.readouterr().out.strip() == f"installed in {place}"
    assert sorted(path.name for path in models_dir.iterdir()) == [given.name]
    assert load(place)[2] == load(given)[2]
    assert main(["verify", str(place)]) == 0
    assert "3 classes, 0.5 µm/px" in capsys.readouterr().out


def test_an_installed_model_is_replaced_only_when_asked(given: Path, tmp_path: Path) -> None:
    place = add(given, tmp_path / "models")
    edit(given, lambda config: config.update(title="New"))
    with pytest.raises(CheckpointError, match="installed already"):
        add(given, tmp_path / "models")
    assert "New" not in (place / CONFIG).read_text()
    add(given, tmp_path / "models", replace=True)
    assert json.loads((place / CONFIG).read_text())["title"] == "New"


@pytest.mark.parametrize("name", ["weights.pt", "model.pkl", "setup.py", ".hidden", "model.safetensors.bak"])
def test_unknown_files_are_refused(given: Path, name: str) -> None:
    (given / name).write_bytes(b"x")
    with pytest.raises(CheckpointError, match="holds plain files only"):
        verify(given)


def test_links_are_refused(given: Path, tmp_path: Path) -> None:
    (given / WEIGHTS).rename(tmp_path / "elsewhere")
    (given / WEIGHTS).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="plain files only"):
        verify(given)


def test_missing_weights_and_an_overlong_card_are_named(given: Path) -> None:
    (given / "README.md").write_bytes(b" " * (2**20 + 1))
    with pytest.raises(CheckpointError, match=r"README.md has 1048577 bytes"):
        verify(given)
    (given / "README.md").unlink()
    (given / WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match=f"has no {WEIGHTS}"):
        verify(given)


def test_a_flipped_bit_in_the_weights_is_noticed(given: Path) -> None:
    content = bytearray((given / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (given / WEIGHTS).write_bytes(content)
    with pytest.raises(CheckpointError, match="is not the file"):
        verify(given)


def test_a_pickle_named_safetensors_is_refused(given: Path) -> None:
    torch.save({"a": torch.zeros(1)}, given / WEIGHTS)
    with pytest.raises(CheckpointError, match="no safetensors file"):
        verify(given)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.pop("unet.stem.bias"), r"unet.stem.bias is not in"),
        (lambda t: t.update(extra=torch.zeros(2)), "extra is not expected in"),
        (lambda t: t.update({"unet.stem.bias": torch.zeros(5)}), r"has shape \(5,\)"),
        (lambda t: t["segmenter.classify.bias"].fill_(torch.nan), "not finite"),
    ],
    ids=["missing", "extra", "shape", "nan"],
)
def test_tensors_that_do_not_fit_are_named(
    given: Path, change: Callable[[dict[str, torch.Tensor]], None], sentence: str
) -> None:
    reweigh(given, change)
    with pytest.raises(CheckpointError, match=sentence):
        verify(given)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda c: c.pop("mpp"), "/config.json: mpp is missing"),
        (lambda c: c.update(mpp="many"), "/config.json: mpp is 'many'; accepted: a number"),
        (lambda c: c.update(name="../outside"), "/config.json: name is '../outside'; accepted: what matches"),
        (
            lambda c: c["network"].update(sequence="sideways"),
            "network.sequence is 'sideways'; accepted: 'parallel', 'chain' or 'none'",
        ),
        (lambda c: c["network"]["network"].update(unet_widths=[10**9, 1, 1]), "unet_widths"),
        (lambda c: c["network"]["network"].update(unet_depth=10**9), "unet_depth"),
        (lambda c: c["network"]["schedule"].update(timesteps=list(range(1, 300))), "timesteps has 299 items"),
        (
            lambda c: c["network"]["network"].update(surprise=1),
            "network.network.surprise is not known; known: backbone, ",
        ),
    ],
    ids=["missing", "type", "outside", "choice", "wide", "deep", "long", "unknown"],
)
def test_bad_configs_are_named(given: Path, change: Callable[[dict[str, Any]], None], sentence: str) -> None:
    edit(given, change)
    with pytest.raises(CheckpointError, match=sentence):
        verify(given)


def test_a_refused_model_leaves_nothing_behind(given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (given / "model.pkl").write_bytes(b"x")
    models_dir = tmp_path / "models"
    assert main(["add", str(given), "--models-dir", str(models_dir)]) == 2
    assert capsys.readouterr().err.startswith("error: model_invalid: ")
    assert not models_dir.exists()
