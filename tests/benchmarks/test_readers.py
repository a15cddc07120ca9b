"""The benchmark of reading through children prints its figures by their names, and compares what is the same."""

import json
from pathlib import Path

import numpy as np
import pytest
from made_slides import write_slide

from benchmarks import readers
from benchmarks.readers import Pair, Pass, figures_of, grids
from workers.core.slides.readers.registry import open_slide

NAMES = {
    "attacks.child_overhead_x",
    "attacks.child_overhead_cpu_x",
    "attacks.child_overhead_by_region_x",
    "attacks.child_overhead_by_region_cpu_x",
}


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    return write_slide(tmp_path / "s.tif", np.random.default_rng(0).integers(0, 255, (300, 600, 3)).astype(np.uint8))


@pytest.mark.process
def test_one_run_prints_every_figure(slide: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--slide", str(slide), "--side", "128", "--tiles", "2", "--repeat", "2"]
    readers.main(asked, standalone_mode=False)
    figures = {line["figure"]: line["value"] for line in map(json.loads, capsys.readouterr().out.splitlines()[-4:])}
    assert figures.keys() == NAMES
    assert figures["attacks.child_overhead_x"] > 0


def test_each_repeat_reads_other_tiles_of_the_slide(slide: Path) -> None:
    with open_slide(slide) as opened:
        found = list(grids(opened, 100, 4, 3))
    assert len({tuple(each) for each in found}) == 3
    assert all(0 <= x < 600 and 0 <= y < 300 for each in found for x, y in each)


def test_an_overhead_is_the_median_of_quotients() -> None:
    pairs = [Pair(Pass(1, 2, 0), Pass(wall, cpu, 0)) for wall, cpu in ((1.0, 2.0), (1.1, 2.2), (9.0, 4.0))]
    found = {each.name: each for each in figures_of({"kept open": pairs, "by region": pairs[:1]})}
    assert found["attacks.child_overhead_x"].value == 1.1
    assert found["attacks.child_overhead_x"].spread == (1.0, 9.0)
    assert found["attacks.child_overhead_cpu_x"].value == 1.1
