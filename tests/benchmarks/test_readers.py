"""The benchmark of reading through children prints its figures by their names, and compares what is the same."""

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from made_slides import write_slide

from benchmarks import reader_rates, readers
from benchmarks.readers import Pair, Pass, figures_of, grids
from workers.core.slides.readers.registry import open_slide
from workers.core.slides.tiff.tiled import TiledLevel
from workers.core.slides.tiff.values import Values

NAMES = {
    "attacks.child_overhead_x",
    "attacks.child_overhead_cpu_x",
    "attacks.child_overhead_by_region_x",
    "attacks.child_overhead_by_region_cpu_x",
    *(
        f"readers.{scale}vs_{other}"
        for scale in ("", "half_scale_", "off_scale_")
        for other in ("imagecodecs", "openslide")
    ),
    "readers.px_difference_finest",
    "readers.px_difference_level_between",
}


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (300, 600, 3)).astype(np.uint8)
    return write_slide(tmp_path / "s.tif", pixels, compression="jpeg")


@pytest.mark.process
def test_one_run_prints_every_figure(slide: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--slide", str(slide), "--side", "128", "--tiles", "2", "--repeat", "2"]
    readers.main(asked, standalone_mode=False)
    figures = {
        line["figure"]: line["value"] for line in map(json.loads, capsys.readouterr().out.splitlines()[-len(NAMES) :])
    }
    assert figures.keys() == NAMES
    assert figures.pop("readers.px_difference_finest") == 0
    assert all(value >= 0 for value in figures.values())


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


def finest_of(width: int, height: int) -> TiledLevel:
    none = Values(0, 0, 4, 0, "<")
    return TiledLevel(width, height, (256, 256), 7, 6, 8, 3, True, b"", none, none)


def test_the_tiles_that_boxes_touch_are_counted_once() -> None:
    level = finest_of(600, 300)
    found = reader_rates.touched(level, [(-10, -10, 140, 138), (100, 0, 30, 20), (250, 100, 60, 60)], Fraction(2))
    assert found == [(0, 0), (1, 0), (2, 0), (1, 1), (2, 1)]
    assert reader_rates.touched(level, [(0, 0, 128, 128)], Fraction(1)) == [(0, 0)]


@pytest.mark.process
def test_cpu_of_a_process_that_is_new_counts_whole() -> None:
    busy = "import time\nwhile time.process_time() < 0.2: pass\nprint('done', flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", busy], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"done\n"
        assert reader_rates.cpu_by_process()[child.pid] >= 0.2
        child.communicate(b"\n")
