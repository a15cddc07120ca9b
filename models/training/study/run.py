"""Run what a study has not finished yet, one training after the other, each in a folder of its own."""

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch

from models.predictor import Predictor
from models.training.__main__ import load_split
from models.training.assess import Subject, evaluate_sets, read_sets
from models.training.baselines import BaselineTrainer
from models.training.check import check_training_data
from models.training.data import Sample
from models.training.evaluate import LDiffusionSegmenter
from models.training.processes import Processes
from models.training.recipe import Recipe
from models.training.rgb_networks import load_rgb
from models.training.study.plan import Study, Variant
from models.training.study.results import EVALUATION, FAILED, Run, chosen_lr, is_over, runs_of
from models.training.trainer import Trainer

SETTINGS: Final = "settings.json"
_SHARED: Final = "before-the-head"
_BEFORE_THE_HEAD: Final = ("stage0", "stage1")


def run_study(
    study: Study, data_root: Path, out: Path, device: torch.device, only: str = "", seed: int | None = None
) -> None:
    """Train and measure every run that is not over, or those of one variant or seed.

    Where a rate is searched for, the search on the first seed comes before any other seed of the variant. A run that
    diverges is noted as failed, and the study goes on.

    Raises:
        ValueError: The study has no such variant or seed, a run was begun with other settings, or the data do not fit.
        FileNotFoundError: Data are missing.
    """
    if seed is not None and seed not in study.seeds:
        raise ValueError(f"{study.name} has no seed {seed}; it has {', '.join(map(str, study.seeds))}")
    for variant in (study.variant(only),) if only else study.variants:
        search = [Run(variant, study.seeds[0], lr) for lr in study.lr_search]
        for run in search:
            _finish(study, run, data_root, out, device)
        if search and chosen_lr(study, variant, out) is None:
            _say(f"{variant.name}: no rate of {', '.join(map(str, study.lr_search))} gave a validation figure")
        for run in runs_of(study, variant, out):
            if seed in (None, run.seed):
                _finish(study, run, data_root, out, device)


def _finish(study: Study, run: Run, data_root: Path, out: Path, device: torch.device) -> None:
    folder = run.folder(out)
    _keep_settings(study, run, folder)
    if is_over(folder):
        return
    _say(f"{study.name}: {folder.relative_to(out)}")
    recipe = study.resolve(run.variant, run.seed, run.lr)
    train, validation = load_split(recipe, data_root)
    check_training_data(train, recipe.classes)
    if study.lr_search and not validation:
        raise ValueError(f"{study.name}: lr_search chooses on validation images; the recipe's datasets keep none")
    sets = read_sets(recipe, data_root, validation)
    try:
        subject = _train(study, run, recipe, (train, validation), out, device)
    except FloatingPointError as error:
        (folder / FAILED).write_text(json.dumps({"error": str(error)}) + "\n", encoding="utf-8")
        _say(f"failed: {error}")
        return
    evaluate_sets(subject, sets, folder / EVALUATION, study.protocol)


def _train(
    study: Study, run: Run, recipe: Recipe, parts: tuple[list[Sample], list[Sample]], out: Path, device: torch.device
) -> Subject:
    folder, (train, validation) = run.folder(out), parts
    if run.variant.baseline:
        trainer = BaselineTrainer(recipe, run.variant.baseline, train, validation, folder, device=device)
        segmenter, spec, digest = load_rgb(trainer.run(), device)
        return Subject(segmenter, spec.network, digest)
    if run.lr is not None:
        _share_first_stages(study, run.variant, parts, folder, device)
    whole = Trainer(recipe, train, validation, folder, Processes(device))
    predictor = Predictor.load(whole.run(), device.type)
    return Subject(LDiffusionSegmenter(predictor), predictor.spec.name, predictor.digest)


def _share_first_stages(
    study: Study, variant: Variant, parts: Sequence[list[Sample]], folder: Path, device: torch.device
) -> None:
    """Begin a run with stages 0 and 1 done: the rate of the head makes no difference to them, so they run once."""
    if (folder / "state.json").is_file():
        return
    seed = int(folder.parent.name.removeprefix("seed-"))
    shared = Trainer(study.resolve(variant, seed), parts[0], parts[1], folder.parent / _SHARED, Processes(device))
    present = shared.loop.place.stage
    for name in _BEFORE_THE_HEAD[_BEFORE_THE_HEAD.index(present or "stage0") :]:
        shared.run(name)
    for file in shared.run_dir.iterdir():
        if file.is_file() and file.name != "state.json":
            shutil.copy2(file, folder / file.name)
    # The place last: a run with one is whole.
    if (shared.run_dir / "state.json").is_file():
        shutil.copy2(shared.run_dir / "state.json", folder / "state.json")


def _keep_settings(study: Study, run: Run, folder: Path) -> None:
    """Write down what a run is trained with, or check that it is what the run was begun with."""
    wanted: dict[str, Any] = {
        "variant": run.variant.name,
        "baseline": run.variant.baseline,
        "seed": run.seed,
        "lr": run.lr,
        "protocol": study.protocol,
        "recipe": study.tables(run.variant, run.seed, run.lr),
    }
    path = folder / SETTINGS
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(wanted, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return
    begun = json.loads(path.read_text(encoding="utf-8"))
    if changed := sorted(key for key in wanted if wanted[key] != begun.get(key)):
        raise ValueError(f"{folder} was begun with another {', '.join(changed)}; remove it, or use another --out")


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
