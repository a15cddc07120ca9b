"""The temperature: found again where it is known, without an effect on labels, and written with the card."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from threshold_segmenter import sample

from models import checkpoint
from models.predictor import Predictor
from models.training.evaluation.calibrate import BEGIN, END, Told, at_temperature, card, fit, main, off_by, tell
from models.training.evaluation.marked import fill


def drawn(temperature: float) -> Told:
    """Annotation drawn from the probabilities at a temperature, on a grid as fine as the logits'."""
    rng = np.random.default_rng(1)
    logits = torch.from_numpy(rng.normal(0, 3, (1, 2, 300, 300))).float()
    share = (logits / temperature).softmax(dim=1)[0, 1].numpy()
    made = sample(0)
    labels = (rng.random((300, 300)) < share).astype(np.uint8)
    return Told(replace(made, labels=labels), logits, (0, slice(0, 300), slice(0, 300)))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_the_annotation_was_drawn_at_is_found(temperature: float) -> None:
    assert fit([drawn(temperature)], 2) == pytest.approx(temperature, rel=0.05)


def test_without_annotated_pixels_there_is_none() -> None:
    told = drawn(1.0)
    with pytest.raises(ValueError, match="annotated validation images"):
        fit([replace(told, sample=replace(told.sample, labels=np.full((300, 300), 255, np.uint8)))], 2)


def test_a_temperature_changes_confidence_and_no_label(random_model: Path) -> None:
    predictor = Predictor.load(random_model, "cpu")
    (told,) = tell(predictor, [sample(0)])
    flat = at_temperature(predictor, 4.0)
    before, after = told.planes(predictor), told.planes(flat)
    np.testing.assert_array_equal(before[0], after[0])
    assert before[1].shape == told.sample.labels.shape
    assert after[1].mean() < before[1].mean()
    assert 0 <= off_by([told], flat) <= 1


def test_a_folder_keeps_it(random_model: Path, tmp_path: Path) -> None:
    model, spec, digest = checkpoint.load(random_model)
    assert '"temperature"' not in (random_model / "config.json").read_text()
    checkpoint.save(tmp_path / spec.name, model, replace(spec, temperature=1.5))
    again = Predictor.load(tmp_path / spec.name, "cpu")
    assert again.spec.temperature == 1.5
    assert again.digest != digest


def test_the_card_is_filled_between_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(f"# x\n\n{BEGIN}\nold\n{END}\n")
    assert fill(path, BEGIN, END, card(1.8, 10, {"made/test": (0.04, 0.0101)}))
    assert "| `made/test` | 0.0400 | 0.0101 |" in path.read_text()
    assert "old" not in path.read_text()


def test_a_folder_that_is_no_model_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = Path(__file__).parents[4] / "models" / "training" / "configs" / "nuclei-fast.toml"
    assert main([str(recipe), "--data", str(tmp_path), "--model", str(tmp_path)]) == 2
    assert "config.json" in capsys.readouterr().err


def test_a_set_that_the_recipe_lacks_is_told(random_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = Path(__file__).parents[4] / "models" / "training" / "configs" / "nuclei-fast.toml"
    assert main([str(recipe), "--data", ".", "--model", str(random_model), "--set", "other/test"]) == 2
    assert "other/test is no test set of the recipe; accepted: tnbc/test" in capsys.readouterr().err
