"""A study's description: a base recipe, variants of it or baselines, seeds, and the figures its table shows."""

import hashlib
import json
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
from pydantic import Field

from models.settings import SettingsError, Tables, check, overlay, placed, read_toml, settings, stated
from models.training.baselines import baseline_config
from models.training.evaluation.assess import set_names
from models.training.evaluation.metric_names import LOWER_IS_BETTER, OF_OBJECTS
from models.training.evaluation.metrics import figures
from models.training.recipe import STAGES, Recipe, StageConfig, parse_recipe
from models.training.rgb_networks import NETWORKS

# What a table can show besides the figures of `evaluation.json`; the paper names it too.
RUN_TIME: Final = "seconds"
_WORDS: Final = ("title", "license", "intended_use")
_HEAD_STAGES: Final = ("stage2", "joint")


@settings
class Variant:
    """One row of the table.

    Attributes:
        name: Of the row and its folder.
        overrides: Recipe tables laid over the study's.
        baseline: Network on RGB in place of L-Diffusion.
        paper: The paper's number for some of the figures, in percent, and for `seconds`.
        run_seconds: What one run took, measured, for `ldiffusion study plan`; 0: not known.
    """

    name: Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9.+_-]*$")]
    overrides: Tables = field(default_factory=dict)
    baseline: str = ""
    paper: dict[str, float] = field(default_factory=dict)
    run_seconds: Annotated[float, Field(ge=0)] = 0.0

    def __post_init__(self) -> None:
        if self.baseline and self.baseline not in NETWORKS:
            raise ValueError(f"baseline is {self.baseline!r}; accepted: {', '.join(NETWORKS)}")


@settings
class Study:
    """What is trained, and how it is shown.

    Attributes:
        name: Of the study.
        title: Heading of the table.
        recipe: Tables of the base recipe, the study's own overrides laid over them.
        variants: The rows.
        seeds: Every variant is trained once with each.
        figures: What the table shows: paths of `evaluation.json`, joined by dots.
        protocol: Of the evaluation.
        spread: `std` (sample standard deviation) or `range` (lowest to highest) over the seeds.
        lr_search: Rates of the head (stage 2; joint's in proportion) that every variant, L-Diffusion or baseline, is
            trained with on the first seed; empty: the recipe's.
        choose_by: The figure, on the validation images, whose highest value chooses among them.
        versus: Variant that every other is compared with on the same images, in a table of its own; empty: none.
        note: What to know when reading, the paper's numbers above all.
        folds: Recipe tables laid over the recipe of a seed, the one at its place modulo their number: which patients a
            draw of images keeps for validation. Empty: all seeds have the recipe's.
    """

    name: str
    title: str
    recipe: Tables
    variants: tuple[Variant, ...]
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = (0, 1, 2)
    figures: tuple[str, ...] = ("mean_dice", "mpa", "miou", "fwiou")
    protocol: Literal["tissue", "cell"] = "tissue"
    spread: Literal["std", "range"] = "std"
    lr_search: tuple[Annotated[float, Field(gt=0)], ...] = ()
    choose_by: str = "mean_dice"
    versus: str = ""
    note: str = ""
    folds: tuple[Tables, ...] = ()

    def __post_init__(self) -> None:
        _check_lists(self)
        if self.versus:
            self.variant(self.versus)

    def variant(self, name: str) -> Variant:
        """Return a variant by its name.

        Raises:
            ValueError: There is none.
        """
        for one in self.variants:
            if one.name == name:
                return one
        raise ValueError(f"{self.name} has no variant {name!r}; it has {', '.join(v.name for v in self.variants)}")

    def tables(self, variant: Variant, seed: int, lr: float | None = None) -> Tables:
        """Return the recipe's tables for one run. The seed also draws the annotated images, where not all are."""
        tables = overlay(self.recipe, variant.overrides) | {"seed": seed}
        if self.folds:
            tables = overlay(tables, self.folds[seed % len(self.folds)])
        for dataset in tables.get("datasets", []):
            if dataset.get("annotated", 1) < 1 or dataset.get("annotated_images"):
                dataset["annotated_seed"] = seed
        if lr is not None:
            head = [tables[name] for name in _HEAD_STAGES if name in tables]
            own = head[0].get("lr", StageConfig.lr)
            for stage in head:
                stage["lr"] = lr * (stage.get("lr", StageConfig.lr) / own)
        return tables

    def settings(self, variant: Variant, seed: int, lr: float | None = None) -> Tables:
        """Return every setting of one run as JSON values, those left to their defaults included."""
        return self._of_run(variant, asdict(self.resolve(variant, seed, lr)))

    def digest(self, variant: Variant, lr: float | None = None) -> str:
        """Return ten hexadecimal digits that tell the runs of a variant from those of any other settings.

        The seed does not count, nor do words for people, nor a setting at its default: a new option leaves old runs
        what they are.
        """
        resolved = self.resolve(variant, 0, lr)
        recipe = stated(replace(resolved, classes=tuple(replace(one, snomed=None) for one in resolved.classes)))
        whole = self._of_run(variant, {key: value for key, value in recipe.items() if key not in _WORDS})
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:10]

    def _of_run(self, variant: Variant, recipe: Tables) -> Tables:
        whole = {"baseline": variant.baseline, "protocol": self.protocol, "recipe": recipe}
        return whole | ({"folds": list(self.folds)} if self.folds else {})

    def resolve(self, variant: Variant, seed: int, lr: float | None = None) -> Recipe:
        """Return the recipe of one run.

        Raises:
            ValueError: The overrides do not give a recipe; the message names the variant.
        """
        place = f"{self.name}, variant {variant.name}"
        recipe = parse_recipe(self.tables(variant, seed, lr), place)
        try:
            set_names(recipe)
            if variant.baseline:
                baseline_config(recipe)
            return recipe
        except ValueError as error:
            raise placed(error, place) from error


def load_study(path: Path) -> Study:
    """Read a study and check that every variant gives a recipe.

    `recipe` is a table, or the path of a recipe file, seen from the study's own folder.

    Raises:
        ValueError: A key is unknown or missing or has an impossible value.
        FileNotFoundError: The recipe is not there.
    """
    study = _study(read_toml(path, path.name), path)
    try:
        for variant in study.variants:
            for fold in range(len(study.folds)):
                study.resolve(variant, fold)
            for lr in (None, *study.lr_search):
                recipe = study.resolve(variant, study.seeds[0], lr)
            _check_figures(study, variant, tuple(c.name for c in recipe.classes))
        return study
    except ValueError as error:
        raise placed(error, path.name) from error


def _study(raw: Tables, path: Path) -> Study:
    base, overrides = raw.get("recipe"), raw.pop("overrides", {})
    if isinstance(base, str):
        base = read_toml(path.parent / base, f"{path.name}: {base}")
    if not isinstance(base, dict):
        raise SettingsError([f"{path.name}: recipe is {base!r}; accepted: the path of a recipe, or a table"])
    if not isinstance(overrides, dict):
        raise SettingsError([f"{path.name}: overrides is {overrides!r}; accepted: a table"])
    return check(Study, {"name": path.stem} | raw | {"recipe": overlay(base, overrides)}, path.name)


def _check_lists(study: Study) -> None:
    names = [variant.name for variant in study.variants]
    for key, values in (("variants", names), ("seeds", study.seeds), ("figures", study.figures)):
        if not values or len(set(values)) < len(values):
            raise ValueError(f"{key} are {json.dumps(list(values))}; accepted: one or more, each once")
    if missing := [name for name in _HEAD_STAGES[:1] if name not in study.recipe]:
        raise ValueError(
            f"the recipe has no [{missing[0]}]; it has {', '.join(s for s in STAGES if s in study.recipe)}"
        )


def _check_figures(study: Study, variant: Variant, classes: tuple[str, ...]) -> None:
    pixel = {".".join(path) for path in figures(np.zeros((len(classes),) * 2, np.int64), classes)}
    known = pixel | {f"instances.{name}" for name in OF_OBJECTS}
    if study.protocol == "cell":
        known |= {f"all_pixels.{name}" for name in pixel}
    for name in (*study.figures, study.choose_by):
        if name not in known:
            raise ValueError(f"figure {name!r} does not exist; known: {', '.join(sorted(known))}")
    if study.choose_by.rpartition(".")[2] in LOWER_IS_BETTER:
        raise ValueError(f"choose_by is {study.choose_by!r}; accepted: a figure of which the highest is the best")
    if unknown := sorted(set(variant.paper) - {*study.figures, RUN_TIME}):
        raise ValueError(
            f"variant {variant.name}: paper gives {', '.join(unknown)}; the table shows {', '.join(study.figures)}"
        )
