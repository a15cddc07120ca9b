"""Which parts stay in float32: the fewest that leave the labels as they are, written with the card."""

from pathlib import Path

import pytest
from threshold_segmenter import sample

from models import checkpoint
from models.training.evaluation import half
from models.training.evaluation.half import BEGIN, END, Tried, card, choices, decide, main
from models.training.evaluation.marked import fill

RECIPE = Path(__file__).parents[4] / "models" / "training" / "configs" / "nuclei-fast.toml"


def test_choices_are_parts_that_the_model_has(random_model: Path) -> None:
    model, _, _ = checkpoint.load(random_model)
    found = choices(model)
    known = {name for name, _ in model.named_modules()}
    assert found[0] == ()
    assert ("segmenter",) in found
    assert all(known.issuperset(parts) for parts in found)
    assert not any("segmenter.backbone" in parts for parts in found)  # it has no trunk


def test_what_leaves_the_labels_as_they_are_ends_the_search(
    random_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(half, "LEAST", 0.0)
    (only,) = decide(random_model, [sample(0)])
    assert only.full == ()
    assert 0.5 < only.labels_equal <= 1
    assert only.speedup > 0
    monkeypatch.setattr(half, "LEAST", 1.1)  # nothing will do
    tried = decide(random_model, [sample(0)])
    assert len(tried) == len(choices(checkpoint.load(random_model)[0]))


def test_without_images_nothing_is_decided(random_model: Path) -> None:
    with pytest.raises(ValueError, match="annotated validation images"):
        decide(random_model, [])


def test_the_card_names_the_parts_and_is_filled_between_its_lines(tmp_path: Path) -> None:
    tried = [Tried((), 0.9991, 1.9), Tried(("segmenter.stem",), 0.99983, 1.7)]
    path = tmp_path / "README.md"
    path.write_text(f"# x\n\n{BEGIN}\nold\n{END}\n")
    assert fill(path, BEGIN, END, card(tried[1], tried, {"made/test": 0.99971}))
    text = path.read_text()
    assert "| none | 99.9100% | 1.90 |" in text
    assert "| `segmenter.stem` | 99.9830% | 1.70 |" in text
    assert "| `made/test` | 99.9710% |" in text
    assert "float32 alone" in card(None, tried, {})


def test_a_folder_that_is_no_model_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(RECIPE), "--data", str(tmp_path), "--model", str(tmp_path)]) == 2
    assert "tnbc" in capsys.readouterr().err
