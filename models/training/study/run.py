"""Run what a study has not finished yet, one training after the other, each in a folder of its own."""

import fcntl
import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from models.predictor import Predictor
from models.training.baselines import BaselineTrainer
from models.training.crops.data import Sample
from models.training.evaluation.assess import Subject, evaluate_sets, read_sets
from models.training.evaluation.evaluate import LDiffusionSegmenter
from models.training.processes import Processes
from models.training.recipe import Recipe
from models.training.rgb_networks import load_rgb
from models.training.splits import load_split
from models.training.state import kept_folder
from models.training.study.plan import Study, Variant
from models.training.study.results import EVALUATION, FAILED, Run, chosen_lr, is_over, runs_of
from models.training.trainer import Trainer

SETTINGS: Final = "settings.json"
_LOCK: Final = "lock"
_SHARED: Final = "before-the-head"
_BEFORE_THE_HEAD: Final = ("stage0", "stage1")
_WAIT_S: Final = 5.0


@dataclass(frozen=True)
class _Job:
    study: Study
    data_root: Path
    out: Path
    device: torch.device


def run_study(
    study: Study, data_root: Path, out: Path, device: torch.device, only: str = "", seed: int | None = None
) -> None:
    """Train and measure every run that is not over, or those of one variant or seed.

    Where a rate is searched for, the search on the first seed comes before any other seed of the variant. A run that
    diverges is noted as failed, and the study goes on. Several processes may work on one folder: each takes runs that
    no other holds, and all return when everything is over.

    Raises:
        ValueError: The study has no such variant or seed, or the data do not fit.
        FileNotFoundError: Data are missing.
    """
    if seed is not None and seed not in study.seeds:
        raise ValueError(f"{study.name} has no seed {seed}; it has {', '.join(map(str, study.seeds))}")
    job = _Job(study, data_root, out, device)
    variants = (study.variant(only),) if only else study.variants
    while not _all_done(job, variants, seed):
        time.sleep(_WAIT_S)
    for variant in variants:
        if study.lr_search and chosen_lr(study, variant, out) is None:
            _say(f"{variant.name}: no rate of {', '.join(map(str, study.lr_search))} gave a validation figure")


def _all_done(job: _Job, variants: Sequence[Variant], seed: int | None) -> bool:
    """Do what nobody else is at; return whether nothing is left."""
    done = [_advance(job, variant, seed) for variant in variants]
    return all(done)


def _advance(job: _Job, variant: Variant, seed: int | None) -> bool:
    """Do what can be done of a variant now; return False where another process holds the rest."""
    study = job.study
    search = [Run(variant, study.seeds[0], lr) for lr in study.lr_search]
    done = [_finish(job, run) for run in search]
    if all(done):
        done = [_finish(job, run) for run in runs_of(study, variant, job.out) if seed in (None, run.seed)]
    return all(done)


def _finish(job: _Job, run: Run) -> bool:
    """Train and measure a run unless it is over; return False where another process is at it."""
    folder = run.folder(job.study, job.out)
    if is_over(folder):
        return True
    folder.mkdir(parents=True, exist_ok=True)
    with _lock(folder) as ours:
        if ours and not is_over(folder):
            _say(f"{job.study.name}: {run.variant.name}, seed {run.seed}: {folder.relative_to(job.out)}")
            _train_and_measure(job, run, folder)
        return ours


@contextmanager
def _lock(folder: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold a folder among processes; the value says whether we do. The system lets go of it when a process dies."""
    with (folder / _LOCK).open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


def _train_and_measure(job: _Job, run: Run, folder: Path) -> None:
    study, settings = job.study, job.study.settings(run.variant, run.seed, run.lr)
    text = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
    (folder / SETTINGS).write_text(text, encoding="utf-8")
    recipe = study.resolve(run.variant, run.seed, run.lr)
    train, validation = load_split(recipe, job.data_root)
    if study.lr_search and not validation:
        raise ValueError(f"{study.name}: lr_search chooses on validation images; the recipe's datasets keep none")
    sets = read_sets(recipe, job.data_root, validation)
    try:
        finished = _train(job, run, recipe, (train, validation))
    except FloatingPointError as error:
        (folder / FAILED).write_text(json.dumps({"error": str(error)}) + "\n", encoding="utf-8")
        _say(f"failed: {error}")
        return
    for step in recipe.stage("stage2").keep_steps:
        subject = _subject(job, run, finished.with_name(kept_folder(finished.name, step)))
        evaluate_sets(subject, sets, folder / kept_folder(EVALUATION, step), study.protocol)
    # The end last: a run with it is over.
    evaluate_sets(_subject(job, run, finished), sets, folder / EVALUATION, study.protocol)


def _subject(job: _Job, run: Run, finished: Path) -> Subject:
    if run.variant.baseline:
        segmenter, spec, digest = load_rgb(finished, job.device)
        return Subject(segmenter, spec.network, digest)
    predictor = Predictor.load(finished, job.device.type)
    return Subject(LDiffusionSegmenter(predictor), predictor.spec.name, predictor.digest)


def _train(job: _Job, run: Run, recipe: Recipe, parts: tuple[list[Sample], list[Sample]]) -> Path:
    """Return the folder of the finished network."""
    folder, device, (train, validation) = run.folder(job.study, job.out), job.device, parts
    if run.variant.baseline:
        trainer = BaselineTrainer(recipe, run.variant.baseline, train, validation, folder, device=device)
        return trainer.run()
    if run.lr is not None:
        _share_first_stages(job, run, parts, folder)
    whole = Trainer(recipe, train, validation, folder, Processes(device))
    return whole.run()


def _share_first_stages(job: _Job, run: Run, parts: Sequence[list[Sample]], folder: Path) -> None:
    """Begin a run with stages 0 and 1 done: the rate of the head makes no difference to them, so they run once."""
    if (folder / "state.json").is_file():
        return
    recipe = job.study.resolve(run.variant, run.seed)
    shared = Run(run.variant, run.seed).folder(job.study, job.out) / _SHARED
    shared.mkdir(parents=True, exist_ok=True)
    with _lock(shared, wait=True):
        trainer = Trainer(recipe, parts[0], parts[1], shared, Processes(job.device))
        present = trainer.loop.place.stage
        for name in _BEFORE_THE_HEAD[_BEFORE_THE_HEAD.index(present or "stage0") :]:
            trainer.run(name)
    for file in shared.iterdir():
        if file.is_file() and file.name not in {"state.json", _LOCK}:
            shutil.copy2(file, folder / file.name)
    # The place last: a run with one is whole.
    if (shared / "state.json").is_file():
        shutil.copy2(shared / "state.json", folder / "state.json")


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
