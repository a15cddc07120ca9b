"""Studies: descriptions that resolve, runs that resume, tables that say what is in the files."""

import fcntl
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from disc_data import RECIPE_TEXT, STUDY_TEXT, write_discs
from markdown_tables import rows
from safetensors.torch import load_file

from models.settings import overlay
from models.training.recipe import STAGES
from models.training.splits import load_split
from models.training.study import run as study_run
from models.training.study.__main__ import main
from models.training.study.plan import load_study
from models.training.study.results import Run, chosen_lr, read_figure
from models.training.study.run import run_study
from models.training.study.table import markdown
from models.training.trainer import Trainer

STUDIES = sorted((Path(__file__).parents[4] / "models" / "training" / "studies").glob("*.toml"))
CPU = torch.device("cpu")


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    write_discs(tmp_path / "data")
    (tmp_path / "recipe.toml").write_text(RECIPE_TEXT)
    path = tmp_path / "discs.toml"
    path.write_text(STUDY_TEXT)
    return path


# --- descriptions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_shipped_study_loads_and_its_variants_differ(path: Path) -> None:
    study = load_study(path)
    recipes = [(study.resolve(variant, 1), variant.baseline) for variant in study.variants]
    assert all(one not in recipes[:index] for index, one in enumerate(recipes))
    # At the full size one seed is what can be paid: those tables have intervals over images.
    assert len(study.seeds) >= 3 or (path.stem.startswith("full-") and study.versus)
    assert all((recipe.tests or study.folds) and recipe.seed == 1 for recipe, _ in recipes)
    # What is compared differs in nothing else: the same crops for all.
    # A remedy, or a form of the diffusion, may be more of the stages before the head.
    alike = ("stage2", "joint") if path.stem.startswith(("remedies-", "forms-")) else STAGES
    crops = [[(name, s.steps, s.batch) for name, s in recipe.stages.items() if name in alike] for recipe, _ in recipes]
    assert crops == [crops[0]] * len(crops)


def test_the_studies_asked_for_are_there() -> None:
    assert {path.stem for path in STUDIES} == {
        *("table3-annotation-ratio", "table4-noise-contrastive", "table5-laws", "table6-aerial"),
        *("timesteps", "input", "sequence", "components"),
        *("baselines-consep", "baselines-glands", "baselines-nuclei", "full-glands", "full-nuclei"),
        *("remedies-consep", "remedies-glands", "remedies-nuclei"),
        *("forms-glas", "forms-tnbc", "full-nuclei-fast", "full-glands-fast"),
        *("full-paper-glands", "full-paper-nuclei"),
    }


def test_no_contrastive_loss_means_none_in_any_stage_that_trains() -> None:
    study = load_study(next(path for path in STUDIES if path.stem == "table4-noise-contrastive"))
    for name in ("gaussian", "laplace"):
        recipe = study.resolve(study.variant(name), 0)
        assert recipe.stage("stage1").contrastive_weight == 0
        assert recipe.stage("joint").steps == 0 or recipe.stage("joint").contrastive_weight == 0
        assert study.resolve(study.variant(f"{name}+contrastive"), 0).stage("stage1").contrastive_weight > 0


def test_annotated_images_are_drawn_by_the_seed_and_rates_keep_their_proportion() -> None:
    study = load_study(next(path for path in STUDIES if path.stem == "table3-annotation-ratio"))
    for seed in (0, 2):
        recipe = study.resolve(study.variant("30-percent"), seed, lr=4e-3)
        assert {(d.annotated, d.annotated_seed) for d in recipe.datasets} == {(0.3, seed)}
        assert recipe.stage("stage2").lr == pytest.approx(4e-3)
        assert recipe.stage("joint").lr == pytest.approx(1e-3)  # 5e-4 beside 2e-3 in the recipe
        assert recipe.stage("stage1").lr == pytest.approx(1.5e-3)


def test_tables_are_laid_over_tables_and_over_each_of_a_list() -> None:
    base: dict[str, Any] = {"a": {"b": 1, "c": [1, 2]}, "sets": [{"root": "x"}, {"root": "y", "k": 1}]}
    over: dict[str, Any] = {"a": {"c": [3]}, "sets": {"k": 2}, "new": {"d": 1}}
    expected = {"a": {"b": 1, "c": [3]}, "sets": [{"root": "x", "k": 2}, {"root": "y", "k": 2}], "new": {"d": 1}}
    assert overlay(base, over) == expected
    assert overlay(base, {"sets": [{"root": "z"}]})["sets"] == [{"root": "z"}]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "Discs"', 'title = "Discs"\nspred = "std"', "spred is not known; known: choose_by"),
        ('title = "Discs"', 'title = "Discs"\nspread = "sd"', "spread is 'sd'; accepted: 'std' or 'range'"),
        ('title = "Discs"', 'title = "Discs"\nlr_search = [0.0]', "lr_search.0 is 0.0; accepted: above 0"),
        ('title = "Discs"\n', "", "title is missing"),
        ("seeds = [0, 1]", "seeds = [0, 0]", r"seeds are \[0, 0\]; accepted: one or more, each once"),
        ("seeds = [0, 1]", "seeds = [-1]", "seeds.0 is -1; accepted: at least 0"),
        ("dice.disc", "dice.square", "figure 'dice.square' does not exist; known: .*dice.disc"),
        (
            'title = "Discs"',
            'title = "Discs"\nchoose_by = "instances.count_error"',
            "choose_by is 'instances.count_error'; accepted: a figure of which the highest is the best",
        ),
        ("law =", "lax =", r"variant gaussian: model.schedule.lax is not known; known: beta_end"),
        ('"fpn-convnext"', '"vgg"', "variants.1: baseline is 'vgg'; accepted: unet"),
        ('name = "fpn"', 'name = "../fpn"', "variants.1.name is '../fpn'; accepted: what matches "),
        ("mean_dice = 15.33", "miou = 15.33", "variant gaussian: paper gives miou; the table shows mean_dice"),
        ('recipe = "recipe.toml"', "recipe = 3", "recipe is 3; accepted: the path of a recipe, or a table"),
    ],
)
def test_a_wrong_description_is_one_sentence(
    study_file: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, message: str
) -> None:
    assert old in STUDY_TEXT
    study_file.write_text(STUDY_TEXT.replace(old, new))
    with pytest.raises(ValueError, match=rf"discs\.toml: .*{message}"):
        load_study(study_file)
    assert main(["table", str(study_file), "--out", str(study_file.parent / "out")]) == 2
    assert capsys.readouterr().err.startswith("error: discs.toml: ")


# --- runs -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_study_runs_resumes_and_prints_its_table_from_the_files_alone(
    study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    run_line = ["run", str(study_file), "--data", str(tmp_path / "data"), "--out", str(out), "--device", "cpu"]
    assert main([*run_line, "--only", "fpn", "--seed", "1"]) == 0
    study = load_study(study_file)
    gaussian, fpn = ([Run(variant, seed).folder(study, out) for seed in (0, 1)] for variant in study.variants)
    assert list(out.glob("*/seed-*/evaluation")) == [fpn[1] / "evaluation"]
    assert [row[1] for row in rows(capsys.readouterr().out)[0][2:]] == ["0 of 2", "1 of 2"]

    with monkeypatch.context() as patch:
        patch.setattr(study_run, "evaluate_sets", interrupt)
        assert main(run_line) == 2
    finished = [*fpn[1].rglob("*.*"), gaussian[0] / "state.json"]
    before = {path: path.stat().st_mtime_ns for path in finished}
    assert main(run_line) == 0
    assert before == {path: path.stat().st_mtime_ns for path in before}
    page = capsys.readouterr().out
    assert [row[1] for row in rows(page)[0][2:]] == ["2 of 2", "2 of 2"]
    assert page.count("### discs: ") == 2
    assert page.index("### discs: validation") < page.index("### discs: discs")

    shutil.rmtree(tmp_path / "data")
    for weights in out.rglob("*.safetensors"):
        weights.unlink()
    assert main(["table", str(study_file), "--out", str(out)]) == 0
    assert capsys.readouterr().out == page
    document = tmp_path / "results.md"
    line = ["table", str(study_file), "--out", str(out), "--into", str(document)]
    document.write_text("# Results\n\n<!-- study: discs -->\nold\n<!-- end of discs -->\nAfter.\n")
    assert main(line) == main(line) == 0
    assert document.read_text() == f"# Results\n\n<!-- study: discs -->\n{page}<!-- end of discs -->\nAfter.\n"
    document.write_text("no marks")
    assert main(line) == 2
    assert "has no lines <!-- study: discs --> and <!-- end of discs -->" in capsys.readouterr().err
    figures = [read_figure(folder, "discs", "dice.disc") for folder in gaussian]
    percent = 100 * np.array(figures, np.float64)
    assert rows(page)[1][2][4] == f"{percent.mean():.2f} ± {percent.std(ddof=1):.2f}"


def interrupt(*_: Any) -> None:
    raise InterruptedError


@pytest.mark.slow
def test_runs_of_equal_settings_are_one_run_and_any_other_setting_makes_another(
    study_file: Path, tmp_path: Path
) -> None:
    out, data = tmp_path / "out", tmp_path / "data"
    run_study(load_study(study_file), data, out, CPU, only="fpn", seed=0)
    (first,) = out.glob("*/*/settings.json")
    written = first.stat().st_mtime_ns
    # Another study, another name of the row, a default written out: the same run.
    renamed = STUDY_TEXT.replace(
        'name = "fpn"', 'name = "other"\noverrides = { halo_px = 16, datasets.annotated = 1.0 }'
    )
    study_file.write_text(renamed.replace('title = "Discs"', 'title = "Others"'))
    run_study(load_study(study_file), data, out, CPU, only="other", seed=0)
    assert [path.stat().st_mtime_ns for path in out.glob("*/*/settings.json")] == [written]
    changes = (("steps = 2", "steps = 3"), ("lr = 2e-3", "lr = 1e-3"), ('"fpn-convnext"', '"unet"'))
    folders = {first.parent}
    for old, new in (*changes, ('title = "Discs"', 'title = "Discs"\nprotocol = "cell"')):
        study_file.write_text(STUDY_TEXT.replace(old, new))
        changed = load_study(study_file)
        folders.add(Run(changed.variant("fpn"), 0).folder(changed, out))
    assert len(folders) == 5


def test_an_unknown_seed_or_variant_is_one_sentence(study_file: Path, tmp_path: Path) -> None:
    study = load_study(study_file)
    with pytest.raises(ValueError, match="discs has no seed 7; it has 0, 1"):
        run_study(study, tmp_path / "data", tmp_path / "out", CPU, seed=7)
    with pytest.raises(ValueError, match="discs has no variant 'unet'; it has gaussian, fpn"):
        run_study(study, tmp_path / "data", tmp_path / "out", CPU, only="unet")


@pytest.mark.slow
def test_a_run_that_another_process_holds_is_left_to_it_and_waited_for(
    study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, out = load_study(study_file), tmp_path / "out"
    held = Run(study.variant("fpn"), 0).folder(study, out)
    held.mkdir(parents=True)
    handle = (held / "lock").open("w")
    fcntl.flock(handle, fcntl.LOCK_EX)
    waited: list[list[Path]] = []

    def other_process_dies(_: float) -> None:
        waited.append(sorted(out.glob("*/*/evaluation")))
        handle.close()

    monkeypatch.setattr("time.sleep", other_process_dies)
    run_study(study, tmp_path / "data", out, CPU, only="fpn")
    # Seed 1 was done first; seed 0 only once nobody held it.
    assert waited == [[Run(study.variant("fpn"), 1).folder(study, out) / "evaluation"]]
    assert (held / "evaluation").is_dir()


@pytest.mark.slow
def test_a_search_trains_every_network_with_every_rate_and_goes_on_with_the_best(
    study_file: Path, tmp_path: Path
) -> None:
    study_file.write_text(STUDY_TEXT.replace('title = "Discs"', 'title = "Discs"\nlr_search = [1e-3, 4e-3]'))
    study, out = load_study(study_file), tmp_path / "out"
    run_study(study, tmp_path / "data", out, CPU, seed=0)
    run_study(study, tmp_path / "data", out, CPU, only="gaussian")
    for variant in study.variants:
        best = chosen_lr(study, variant, out)
        folders = {lr: Run(variant, 0, lr).folder(study, out) for lr in study.lr_search}
        searched = {lr: read_figure(folder, "validation", "mean_dice") or 0.0 for lr, folder in folders.items()}
        assert best is not None
        assert searched[best] == max(searched.values())
        seconds = {lr: Run(variant, 1, lr).folder(study, out) / "evaluation" for lr in study.lr_search}
        assert {lr for lr, path in seconds.items() if path.is_dir()} == (
            {best} if variant.name == "gaussian" else set()
        )
    # Stages 0 and 1, which a search trains once, change nothing.
    recipe = study.resolve(study.variants[0], 0, 4e-3)
    Trainer(recipe, *load_split(recipe, tmp_path / "data"), tmp_path / "alone").run()
    both = (tmp_path / "alone", Run(study.variants[0], 0, 4e-3).folder(study, out))
    alone, shared = (load_file(folder / "model" / "model.safetensors") for folder in both)
    assert all(torch.equal(alone[name], shared[name]) for name in alone)


@pytest.mark.slow
def test_a_run_that_diverges_is_noted_and_the_study_goes_on(
    study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(self: Trainer) -> None:
        raise FloatingPointError("stage1: the loss is nan after 1 steps; lower lr")

    monkeypatch.setattr(Trainer, "run", diverge)
    study, out = load_study(study_file), tmp_path / "out"
    run_study(study, tmp_path / "data", out, CPU, seed=0)
    gaussian, fpn = rows(markdown(study, out))[0][2:]
    assert gaussian == ["gaussian", "0 of 2, 1 failed", "–", "15.33", "–", "–", "–", "7325"]
    assert fpn[1] == "1 of 2"
    failed = Run(study.variants[0], 0).folder(study, out) / "failed.json"
    assert json.loads(failed.read_text())["error"].startswith("stage1")
