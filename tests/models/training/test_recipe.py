"""Recipes: those that ship load, and a mistake in one is named together with what is accepted."""

from pathlib import Path

import pytest
from disc_data import RECIPE_TEXT, disc_recipe

from models.training.recipe import Recipe, load_recipe


def load_changed(tmp_path: Path, old: str, new: str) -> Recipe:
    assert RECIPE_TEXT.count(old) >= 1
    path = tmp_path / "r.toml"
    path.write_text(RECIPE_TEXT.replace(old, new, 1))
    return load_recipe(path)


def test_shipped_recipes_load(repo_root: Path) -> None:
    paths = sorted((repo_root / "models" / "training" / "configs").glob("*.toml"))
    assert paths
    for path in paths:
        assert load_recipe(path).stage("stage1").steps > 0


def test_a_recipe_says_what_a_stage_asks_of_the_loop(tmp_path: Path) -> None:
    text = "steps = 9\naccumulate = 2\npatience = 3\nwatch = 'val_noise'\nbest = 'lowest'\nlr = 1"
    stage = load_changed(tmp_path, "steps = 1", text).stage("stage0")
    assert (stage.steps, stage.accumulate, stage.patience, stage.watch) == (9, 2, 3, "val_noise")
    assert stage.learning_rate(8) < 1
    assert disc_recipe().stage("stage3").steps == 0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("mpp = 0.5", "mpp = 0.5\nspeed = 3", "r.toml: the recipe has no speed; it has augment, classes"),
        ('name = "discs"', "", "missing 1 required positional argument: 'name'"),
        ("crop_px = 32", "crop_px = 40", "crop_px is 40; it must be a multiple of 16"),
        ("crop_px = 32", "crop_px = 0", "crop_px is 0; it must be above 0"),
        ("mpp = 0.5", 'mpp = "half"', "the recipe: mpp is 'half'; it must be float"),
        ("log_every = 1", "log_every = true", "log_every is True; it must be int"),
        ("log_every = 1", "ema_decay = 1.5", "ema_decay is 1.5; it must lie between 0 and 1"),
        ("steps = 1", "pace = 1", r"\[stage0\] has no pace; it has .*accumulate"),
        ("batch = 2", "batch = 2\naccumulate = 4", r"\[stage0\]: batch is 2; accumulate = 4 must divide it"),
        ('preset = "tiny"', 'preset = "huge"', "unknown preset 'huge'; known: tiny, base, paper"),
        ('preset = "tiny"', 'input = "grey"', r"\[model\]: input is 'grey'; it must be one of 'sequence', "),
        ('preset = "tiny"', "[model.network]\ndepth = 3", r"\[model.network\] has no depth; it has "),
        ("color = [0, 0, 255]", "color = [0, 0, 256]", r"\[\[classes\]\] number 1 is .*three numbers 0..255"),
        ("[[datasets]]", "[[tests]]", r"the recipe names no \[\[datasets\]\]"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_changed(tmp_path, old, new)


def test_one_class_is_too_few(tmp_path: Path) -> None:
    second = '[[classes]]\nname = "disc"\ncolor = [0, 0, 255]\n'
    with pytest.raises(ValueError, match=r"names 1 \[\[classes\]\]; a background and at least one more are needed"):
        load_changed(tmp_path, second, "")
