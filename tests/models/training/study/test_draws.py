"""Differences over draws and folds: against loops, closed cases and Holm's method by hand."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markdown_tables import rows

from models.training.study.cost import plan_text
from models.training.study.draws import Paired, draws_markdown, effect, holm
from models.training.study.plan import Study, load_study
from models.training.study.results import Run, evaluation_file
from models.training.study.table import markdown

STUDIES = Path(__file__).parents[4] / "models" / "training" / "studies"
FORMS = ("forms-tnbc", "forms-glas")


def forms(name: str = "forms-tnbc") -> Study:
    return load_study(STUDIES / f"{name}.toml")


def matrices(images: int, seed: int) -> Any:
    return np.random.default_rng(seed).integers(1, 50, (images, 2, 2))


def paired(shift: int = 0) -> Paired:
    names = (("a", "b", "c"), ("d", "e"), ("a", "b", "c"))
    first = tuple(matrices(len(one), place) for place, one in enumerate(names))
    second = tuple(one + shift * np.array([[0, 1], [1, 0]]) for one in first)
    return Paired(names, first, second, 1)


def dice(counts: Any) -> float:
    (_, wrong), (missed, hit) = counts.sum(axis=0)
    return float(2 * hit / (2 * hit + wrong + missed))


def test_the_difference_is_the_mean_over_draws_and_studies() -> None:
    one, other = paired(20), paired(3)
    literal = [[dice(a) - dice(b) for a, b in zip(each.first, each.second, strict=True)] for each in (one, other)]
    found = effect([one, other], resamples=50)
    assert found.value == pytest.approx(np.mean([np.mean(each) for each in literal]))
    assert found.low < found.value < found.high
    assert found.chance == pytest.approx(2 / 51)


def test_equal_rows_differ_by_nothing() -> None:
    found = effect([paired(0)], resamples=50)
    assert (found.value, found.low, found.high, found.chance) == (0, 0, 0, 1)


def test_draws_that_disagree_are_not_sure() -> None:
    one = paired(30)
    mixed = replace(one, first=(one.first[0], one.second[1], one.second[2]), second=(one.second[0], *one.first[1:]))
    assert effect([mixed], resamples=500).chance > 0.05
    assert effect([one], resamples=500).chance < 0.01


def test_one_image_and_one_draw_have_no_spread() -> None:
    one = Paired((("a",),), (matrices(1, 0),), (matrices(1, 1),), 1)
    found = effect([one], resamples=20)
    assert found.low == found.high == pytest.approx(dice(one.first[0]) - dice(one.second[0]))


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def write(study: Study, out: Path, value: int, only: tuple[str, ...]) -> None:
    """Write what runs leave: at the end and after 140 steps, of two draws."""
    for variant in (study.variant(name) for name in only):
        for seed in (0, 1):
            for step in (0, 140):
                path = evaluation_file(Run(variant, seed).folder(study, out), "validation", step)
                path.parent.mkdir(parents=True)
                counts = matrices(3, seed) + (value if variant.name == "vectors" else 0) * np.diag([0, 1])
                images = [{"name": f"{seed}{i}", "confusion": one.tolist()} for i, one in enumerate(counts)]
                classes = ["background", study.figures[0].removeprefix("dice.")]
                path.write_text(json.dumps({"classes": classes, "per_image": images}))


def test_the_table_is_of_the_files_and_of_both_studies(tmp_path: Path) -> None:
    studies = [forms(name) for name in FORMS]
    for place, study in enumerate(studies):
        write(study, tmp_path, 40 * (place + 1), ("none", "vectors"))
    for table in rows(draws_markdown(studies, tmp_path)):
        cells = {row[0]: row[1:] for row in table}
        assert cells["vectors"][0] == "2 of 8 + 2 of 8"
        assert cells["maps"] == ["0 of 8 + 0 of 8", "–", "–", "–"]
        expected = np.mean(
            [
                dice(matrices(3, seed) + more * np.diag([0, 1])) - dice(matrices(3, seed))
                for seed in (0, 1)
                for more in (40, 80)
            ]
        )
        assert cells["vectors"][1].startswith(f"{100 * expected:+.2f} (")
    assert "minus `none`" in markdown(studies[0], tmp_path)


def test_the_end_that_is_taken_of_a_draw_is_chosen_on_its_other_draws(tmp_path: Path) -> None:
    study, dice_at = forms(), {0: (0.9, 0.2, 0.2), 140: (0.1, 0.8, 0.5)}
    for name, of_step in (("vectors", dice_at), ("none", {0: (0.0,) * 3, 140: (0.0,) * 3})):
        for step, each in of_step.items():
            for seed, value in enumerate(each):
                path = evaluation_file(Run(study.variant(name), seed).folder(study, tmp_path), "validation", step)
                path.parent.mkdir(parents=True)
                hit, missed = round(1000 * value), 2000 - 2 * round(1000 * value)
                images = [{"name": str(seed), "confusion": [[0, 0], [missed, hit]]}]
                path.write_text(json.dumps({"classes": ["background", "nucleus"], "per_image": images}))
    # Draw 0 is judged by 1 and 2, which are better after 140 steps; each of them by 0 and the other: at the end.
    expected = np.mean([0.1, 0.2, 0.2])
    taken = {row[0]: row[1:] for row in list(rows(draws_markdown([study], tmp_path)))[-1]}
    assert taken["vectors"][0] == "3 of 8"
    assert taken["vectors"][1].startswith(f"{100 * expected:+.2f} (")


def test_a_draw_has_its_fold_and_its_labels() -> None:
    study = forms()
    for seed in range(8):
        (dataset,) = study.resolve(study.variants[0], seed).datasets
        assert dataset.validation_groups == (("01", "02"), ("03", "07"), ("04",), ("05", "06"))[seed % 4]
        assert dataset.annotated_seed == seed
        assert dataset.annotated_images == 8


def test_folds_are_part_of_a_run_s_settings() -> None:
    study = forms()
    other = replace(study, folds=study.folds[:2])
    assert study.digest(study.variants[0]) != other.digest(study.variants[0])


@pytest.mark.parametrize("name", FORMS)
def test_no_test_part_is_read(name: str) -> None:
    for variant in forms(name).variants:
        recipe = forms(name).resolve(variant, 0)
        assert not recipe.tests
        assert [dataset.root for dataset in recipe.datasets] in (["tnbc/train"], ["glas/train"])


def test_the_plan_of_the_forms_takes_ten_hours_at_most() -> None:
    last = plan_text([forms(name) for name in FORMS], None).splitlines()[-1]
    assert 0 < float(last.split("|")[5]) <= 10
