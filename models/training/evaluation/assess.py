"""A finished run on its recipe's validation images and test sets: one evaluation folder each, all or none."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.training.crops.data import DatasetConfig, Sample, load_dataset
from models.training.evaluation.evaluate import measure, write
from models.training.evaluation.segmenter import Segmenter
from models.training.evaluation.summary import Evaluation, Setting, summarise
from models.training.recipe import Recipe

VALIDATION: Final = "validation"


@dataclass(frozen=True)
class Subject:
    """What is measured: a segmenter with a name and a digest."""

    segmenter: Segmenter
    name: str
    digest: str


def set_names(recipe: Recipe) -> tuple[str, ...]:
    """Return the names of the recipe's test sets, as folders are called.

    Raises:
        ValueError: Two sets have the same name.
    """
    names = tuple(_name(test) for test in recipe.tests)
    if len(set(names)) < len(names):
        raise ValueError(f"[[tests]] are called {', '.join(names)}; each must be another set")
    return names


def read_sets(recipe: Recipe, data_root: Path, validation: Sequence[Sample]) -> dict[str, Sequence[Sample]]:
    """Return the recipe's sets by name: `validation`, where images are held out, and every test set.

    Raises:
        FileNotFoundError: A test set is missing.
        ValueError: A test set cannot be read, or two have the same name.
    """
    tests = zip(set_names(recipe), recipe.tests, strict=True)
    found: dict[str, Sequence[Sample]] = {
        name: load_dataset(test, data_root, len(recipe.classes)) for name, test in tests
    }
    return ({VALIDATION: validation} if validation else {}) | found


def evaluate_sets(
    subject: Subject, sets: Mapping[str, Sequence[Sample]], out: Path, protocol: str = "tissue"
) -> list[Evaluation]:
    """Measure on every set and write `<out>/<set>/evaluation.json`; `out` appears when all of them are done.

    Raises:
        ValueError: A set has no image, or the protocol is not known.
    """
    draft = out.with_name(f"{out.name}.draft")
    for old in (draft, out):
        shutil.rmtree(old, ignore_errors=True)
    found = []
    for name, evaluation in _evaluations(subject, sets, protocol):
        write(evaluation, draft / name)
        found.append(evaluation)
    draft.mkdir(parents=True, exist_ok=True)
    draft.replace(out)
    return found


def _evaluations(
    subject: Subject, sets: Mapping[str, Sequence[Sample]], protocol: str
) -> Iterator[tuple[str, Evaluation]]:
    classes = tuple(c.name for c in subject.segmenter.classes)
    for name, samples in sets.items():
        setting = Setting(subject.name, subject.digest, name, classes, protocol)
        yield name, summarise(setting, measure(subject.segmenter, samples))


def _name(test: DatasetConfig) -> str:
    return "-".join(filter(None, (test.root.replace("/", "_"), test.variant, test.split)))
