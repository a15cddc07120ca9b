"""A study's table says what is in the files of its runs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markdown_tables import rows

from models.settings import overlay
from models.training.study.differences import difference
from models.training.study.plan import Study, Variant, load_study
from models.training.study.results import Run, chosen_lr, run_seconds, seconds_per_step
from models.training.study.table import markdown

STUDIES = sorted((Path(__file__).parents[4] / "models" / "training" / "studies").glob("*.toml"))


def write_run(folder: Path, figures: dict[str, Any], log: list[dict[str, Any]], name: str = "test") -> None:
    (folder / "evaluation" / name).mkdir(parents=True)
    (folder / "evaluation" / name / "evaluation.json").write_text(json.dumps(figures))
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in log))


def test_mean_and_spread_are_numpys_on_the_files(tmp_path: Path) -> None:
    recipe = overlay(load_study(STUDIES[0]).recipe, {"tests": [{"root": "test"}]})
    kinds: dict[str, Any] = {
        "variants": (Variant("one"),),
        "figures": ("miou", "all_pixels.dice.other"),
        "protocol": "cell",
    }
    values = np.random.default_rng(0).random((2, 3))
    for seed, (dice, building) in enumerate(values.T):
        log = [{"stage": "stage1", "step": 10, "seconds": 20.0 + seed}, {"stage": "joint", "step": 10, "seconds": 5.0}]
        found = {"miou": dice, "all_pixels": {"dice": {"other": building}}}
        write_run(Run(kinds["variants"][0], seed).folder(Study("s", "S", recipe, **kinds), tmp_path), found, log)
    for spread in ("std", "range"):
        study = Study("s", "S", recipe, spread=spread, **kinds)
        cells = rows(markdown(study, tmp_path))[0][2]
        for cell, found in zip(cells[2:4], 100 * values, strict=True):
            low, high = found.min(), found.max()
            shown = {"std": f"± {found.std(ddof=1):.2f}", "range": f"({low:.2f} to {high:.2f})"}
            assert cell == f"{found.mean():.2f} {shown[spread]}"
        assert cells[1] == "3 of 3"
        assert cells[5].split()[0] == "26"


def confusions(images: int, seed: int) -> Any:
    return np.random.default_rng(seed).integers(1, 50, (images, 3, 3))


def write_counts(folder: Path, counts: Any, names: Any = "abcdefg") -> Path:
    per_image = [{"name": names[i], "confusion": one.tolist()} for i, one in enumerate(counts)]
    write_run(folder, {"classes": ["background", "x", "y"], "per_image": per_image}, [])
    return folder / "evaluation" / "test" / "evaluation.json"


def dice_of_x(confusion: Any, protocol: str) -> float:
    """2 TP / (2 TP + FP + FN), counted cell by cell."""
    true = wrong = 0
    for reference in range(3):
        for predicted in range(3):
            if protocol == "cell" and reference == 0:
                continue
            count = int(confusion[reference][predicted])
            true += count * (reference == predicted == 1)
            wrong += count * ((reference == 1) != (predicted == 1))
    return 2 * true / (2 * true + wrong)


@pytest.mark.parametrize("protocol", ["tissue", "cell"])
def test_a_difference_is_that_of_the_means_over_seeds_and_its_interval_draws_images_in_pairs(
    tmp_path: Path, protocol: str
) -> None:
    ours, theirs = ([confusions(7, 10 * side + seed) for seed in range(2)] for side in (1, 2))
    first, second = (
        [write_counts(tmp_path / f"{side}{seed}", counts) for seed, counts in enumerate(group)]
        for side, group in (("a", ours), ("b", theirs))
    )
    found = difference(first, second, "dice.x", protocol, resamples=300)
    assert found is not None

    def minus(images: Any) -> float:
        means = [np.mean([dice_of_x(one[images].sum(axis=0), protocol) for one in side]) for side in (ours, theirs)]
        return float(means[0] - means[1])

    assert found.value == pytest.approx(minus(np.arange(7)))
    drawn = [minus(np.random.default_rng(k).integers(0, 7, 7)) for k in range(2000)]
    low, high = np.percentile(drawn, (2.5, 97.5))
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high), abs=0.25 * (high - low))
    # A model against itself, whatever images are drawn: nothing.
    same = difference(first, first, "dice.x", protocol, resamples=50)
    assert same is not None
    assert (same.value, same.interval.low, same.interval.high) == (0, 0, 0)
    assert difference(first, second, "instances.pq", protocol, resamples=5) is None


def test_a_page_shows_differences_to_the_row_it_is_asked_for(tmp_path: Path) -> None:
    recipe = overlay(load_study(STUDIES[0]).recipe, {"tests": [{"root": "test"}]})
    variants = (Variant("ours"), Variant("unet", baseline="unet"))
    study = Study("s", "S", recipe, variants, seeds=(0,), figures=("dice.x",), versus="ours")
    paths = [
        write_counts(Run(variant, 0).folder(study, tmp_path), confusions(5, seed))
        for seed, variant in enumerate(variants)
    ]
    head, _, *differences = rows(markdown(study, tmp_path))[-1]
    found = difference([paths[1]], [paths[0]], "dice.x", "tissue")
    assert head == ["variant", "dice.x"]
    assert found is not None
    low, high = 100 * found.interval.low, 100 * found.interval.high
    assert differences == [["unet", f"{100 * found.value:+.2f} ({low:+.2f} to {high:+.2f})"]]
    with pytest.raises(ValueError, match="s has no variant 'theirs'; it has ours, unet"):
        Study("s", "S", recipe, variants, versus="theirs")


def test_a_difference_needs_the_same_images(tmp_path: Path) -> None:
    one = write_counts(tmp_path / "a", confusions(3, 0))
    other = write_counts(tmp_path / "b", confusions(3, 0), "abz")
    with pytest.raises(ValueError, match="not of the same images"):
        difference([one], [other], "dice.x", "tissue")


def test_time_is_read_from_the_log(tmp_path: Path) -> None:
    log = [{"stage": "stage1", "step": step, "seconds": seconds} for step, seconds in ((2, 2.0), (4, 4.0), (6, 16.0))]
    log += [{"stage": "stage2", "step": 3, "seconds": 1.5}, {"stage": "stage2", "step": 3, "val_loss": 0.1}]
    write_run(tmp_path, {}, log)
    # The ten seconds of a validation in stage 1 are in the run time, not in the time of a step.
    assert run_seconds(tmp_path) == pytest.approx(17.5)
    assert seconds_per_step(tmp_path) == pytest.approx((6 * 1.0 + 3 * 0.5) / 9)
    assert run_seconds(tmp_path / "none") is None


def test_the_time_of_a_step_leaves_out_where_a_killed_run_went_back(tmp_path: Path) -> None:
    places = ((2, 2.0), (4, 4.0), (4, 9.0), (2, 7.0), (4, 9.0), (6, 11.0))
    write_run(tmp_path, {}, [{"stage": "stage1", "step": step, "seconds": seconds} for step, seconds in places])
    assert seconds_per_step(tmp_path) == pytest.approx(1.0)


def test_a_rate_is_chosen_once_all_are_over_and_never_one_that_failed(tmp_path: Path) -> None:
    recipe = load_study(STUDIES[0]).recipe
    study = Study("s", "S", recipe, (Variant("one"),), lr_search=(1e-3, 2e-3, 4e-3), choose_by="miou")
    for lr, miou in ((1e-3, 0.5), (2e-3, 0.7)):
        write_run(Run(study.variants[0], 0, lr).folder(study, tmp_path), {"miou": miou}, [], "validation")
        assert chosen_lr(study, study.variants[0], tmp_path) is None
    last = Run(study.variants[0], 0, 4e-3).folder(study, tmp_path)
    last.mkdir(parents=True)
    (last / "failed.json").write_text("{}")
    assert chosen_lr(study, study.variants[0], tmp_path) == 2e-3
