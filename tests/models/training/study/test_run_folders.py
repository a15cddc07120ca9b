"""Runs of the shipped studies keep their folders."""

import json
from pathlib import Path

import pytest

from models.training.study.plan import load_study

STUDIES = sorted((Path(__file__).parents[4] / "models" / "training" / "studies").glob("*.toml"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_runs_of_a_shipped_study_keep_their_folders(path: Path) -> None:
    """Folders of runs are named by these digests: with another, what was trained for days would be trained anew."""
    study = load_study(path)
    pinned = json.loads(Path(__file__).with_name("digests.json").read_text())[path.stem]
    rates = (None, *study.lr_search)
    assert {v.name: " ".join(study.digest(v, lr) for lr in rates) for v in study.variants} == pinned
