"""Recipes: those that ship load, and a mistake in one is named together with what is accepted."""

import tomllib
from pathlib import Path

import pytest
from disc_data import RECIPE_TEXT, disc_recipe
from pydicom.sr.codedict import codes

from models.training.recipe import Recipe, load_recipe, parse_recipe


def load_changed(tmp_path: Path, old: str, new: str) -> Recipe:
    assert RECIPE_TEXT.count(old) >= 1
    path = tmp_path / "r.toml"
    path.write_text(RECIPE_TEXT.replace(old, new, 1))
    return load_recipe(path)


def test_shipped_recipes_load(repo_root: Path) -> None:
    paths = sorted((repo_root / "models" / "training" / "configs").glob("*.toml"))
    assert paths
    for path in paths:
        recipe = load_recipe(path)
        assert recipe.stage("stage2").steps > 0
        assert (recipe.model.sequence == "none") == path.stem.endswith("-fast")


CONCEPTS = {
    "background": None,
    "nucleus": codes.SCT.Nucleus,
    "gland": codes.SCT.BodyTissueStructure,
    "benign gland": codes.SCT.BodyTissueStructure,
    "malignant gland": codes.SCT.Adenocarcinoma,
}


def test_shipped_recipes_say_concepts_that_the_standard_lists(repo_root: Path) -> None:
    for path in (repo_root / "models" / "training" / "configs").glob("*.toml"):
        for one in load_recipe(path).classes:
            concept = CONCEPTS[one.name]
            if concept is None:
                assert one.snomed is None
            else:
                value, meaning = one.snomed or ("", "")
                assert (value, meaning) == (concept.value, concept.meaning.removesuffix(" (body structure)"))


def test_a_recipe_says_what_a_stage_asks_of_the_loop(tmp_path: Path) -> None:
    text = "steps = 9\naccumulate = 2\npatience = 3\nwatch = 'val_noise'\nbest = 'lowest'\nlr = 1"
    stage = load_changed(tmp_path, "steps = 1", text).stage("stage0")
    assert (stage.steps, stage.accumulate, stage.patience, stage.watch) == (9, 2, 3, "val_noise")
    assert stage.learning_rate(8) < 1
    assert disc_recipe().stage("stage3").steps == 0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "mpp = 0.5",
            "mpp = 0.5\nspeed = 3",
            "r.toml: speed is not known; known: augment, .* stage0, stage1, ",
        ),
        ('name = "discs"', "", "r.toml: name is missing"),
        ("crop_px = 32", "crop_px = 40", "r.toml: crop_px is 40; accepted: a multiple of 16"),
        ("crop_px = 32", "crop_px = 0", "r.toml: crop_px is 0; accepted: above 0"),
        ("mpp = 0.5", 'mpp = "half"', "r.toml: mpp is 'half'; accepted: a number"),
        ("log_every = 1", "log_every = true", "r.toml: log_every is True; accepted: a whole number"),
        ("log_every = 1", "ema_decay = 1.5", "r.toml: ema_decay is 1.5; accepted: below 1"),
        ("steps = 1", "pace = 1", "r.toml: stage0.pace is not known; known: accumulate, "),
        (
            "batch = 2",
            "batch = 2\naccumulate = 4",
            "r.toml: stage0: batch is 2; accepted: a multiple of accumulate = 4",
        ),
        ('preset = "tiny"', 'preset = "huge"', "r.toml: model.preset is 'huge'; accepted: tiny, base, paper"),
        ('preset = "tiny"', 'input = "grey"', "r.toml: model.input is 'grey'; accepted: 'sequence' or "),
        ('preset = "tiny"', "[model.network]\ndepth = 3", "r.toml: model.network.depth is not known; known: "),
        ("color = [0, 0, 255]", "color = [0, 0, 256]", "r.toml: classes.1.color.2 is 256; accepted: at most 255"),
        ("[[datasets]]", "[[tests]]", "r.toml: datasets is missing"),
        ("mpp = 0.5", "mpp = 0.5\nstages = {}", "r.toml: stages is not known; known: .*stage0"),
        ("mpp = 0.5", "mpp = ", "r.toml is not TOML"),
        ('name = "discs"', 'name = "../discs"', "r.toml: name is '../discs'; accepted: what matches"),
        ("color = [0, 0, 255]", "color = [0, 0, 255]\nindex = 0", r"r.toml: classes: numbered \[0, 0\]"),
        ("steps = 1", "lr = inf", "r.toml: stage0.lr is inf; accepted: a finite number"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_changed(tmp_path, old, new)


def test_one_class_is_too_few(tmp_path: Path) -> None:
    second = '[[classes]]\nname = "disc"\ncolor = [0, 0, 255]\n'
    with pytest.raises(ValueError, match=r"r.toml: classes: numbered \[0\]; accepted: .* a background and one more"):
        load_changed(tmp_path, second, "")


def test_every_mistake_has_a_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="augment") as refused:
        load_changed(
            tmp_path,
            "[stage0]",
            "[x]\n[augment]\nscale = [1]\n[stage1]\nsteps = 1.5\n[stage2]\n[stage0]\nwarmup_steps = -2",
        )
    assert sorted(line.split(";")[0] for line in str(refused.value).splitlines()) == [
        "r.toml: augment.scale.1 is missing",
        "r.toml: stage0.warmup_steps is -2",
        "r.toml: stage1.steps is 1.5",
        "r.toml: x is not known",
    ]


def test_a_recipe_has_data() -> None:
    with pytest.raises(ValueError, match=r"^made: datasets is empty; accepted: one or more$"):
        parse_recipe(tomllib.loads(RECIPE_TEXT) | {"datasets": []}, "made")
