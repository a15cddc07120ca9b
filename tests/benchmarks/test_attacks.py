"""The benchmark of attacks prints its figures by their names; how good they are is no matter of a test."""

import json
from pathlib import Path

import pytest

from benchmarks import attacks
from benchmarks.attacks import Run, figures_of

NAMES = {"attacks.worst_bystander_x", "attacks.gateway_growth_mb", "attacks.failed_requests"}


@pytest.mark.process
@pytest.mark.slow
def test_one_run_prints_every_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--requests", "5", "--repeat", "1", "--only", "endless header", "--folder", str(tmp_path)]
    attacks.main(small, standalone_mode=False)
    figures = {line["figure"]: line["value"] for line in map(json.loads, capsys.readouterr().out.splitlines()[-3:])}
    assert figures.keys() == NAMES
    assert figures["attacks.worst_bystander_x"] > 0
    assert figures["attacks.failed_requests"] == 0


def test_the_worst_attack_is_the_one_whose_median_is_worst() -> None:
    runs = {
        "steady": [Run(10, 40, 0, 5), Run(10, 50, 1, 6), Run(10, 60, 0, 4)],
        "once": [Run(10, 10, 0, 1), Run(10, 900, 2, 80), Run(10, 10, 0, 2)],
    }
    found = {each.name: each for each in figures_of(runs)}
    assert (found["attacks.worst_bystander_x"].value, found["attacks.worst_bystander_x"].spread) == (5, (4, 6))
    assert (found["attacks.gateway_growth_mb"].value, found["attacks.gateway_growth_mb"].spread) == (80, (1, 80))
    assert found["attacks.failed_requests"].value == 3
