"""The benchmark of a giant slide, on small ones: it finds what it drew, and goes on from what it measured before."""

import json
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from click.testing import CliRunner
from imagecodecs import jpeg8_decode
from scipy import ndimage

from benchmarks import giant, giant_slide
from workers.core.slides.readers.registry import open_slide


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(giant_slide, "TISSUES", 6)


def outcome(px: int, seconds: float) -> dict[str, object]:
    return {"px": px, "job": {"wall_s": seconds, "cpu_s": seconds**1.5}}


@pytest.mark.usefixtures("few")
def test_readers_agree_on_the_slide_and_its_levels_are_small_pictures_of_it(tmp_path: Path) -> None:
    slide = tmp_path / "giant.tif"
    made = giant_slide.write_slide(slide, 2304, 1536)
    assert made.tiles == 9 * 6
    assert made.nuclei == giant_slide.NUCLEI * made.tissue
    assert made.tissue > made.tiles / 2
    with open_slide(slide) as ours, openslide.OpenSlide(slide) as other:
        assert ours.exact == {0, 1, 2, 3}
        assert ours.geometry.mpp_x == giant_slide.MPP
        assert float(other.properties["openslide.mpp-x"]) == giant_slide.MPP
        seen = ours.read_level(0, 900, 500, 700, 600)
        np.testing.assert_array_equal(seen, np.asarray(other.read_region((900, 500), 0, (700, 600)).convert("RGB")))
        np.testing.assert_array_equal(seen, tifffile.imread(slide, key=0)[500:1100, 900:1600])
        for level in (1, 2):
            apart = ours.reduced(0, 4**level).astype(int) - ours.reduced(level, 1)
            assert abs(apart).mean() < 4


@pytest.mark.usefixtures("few")
def test_a_threshold_finds_the_nuclei_of_each_tile_and_nothing_else() -> None:
    for number, tile in enumerate(giant_slide.distinct_tiles(None, np.random.default_rng(0))):
        pixels = jpeg8_decode(giant_slide._packed(tile))
        labels, confidence = giant.Threshold(interior=False).predict(pixels[np.newaxis], [(0, 0)], 0, "float32")
        pieces, count = ndimage.label(labels[0])
        assert count == (giant_slide.NUCLEI if number < giant_slide.TISSUES else 0)
        assert (np.bincount(pieces.ravel())[1:] > np.pi * 5**2).all()
        assert confidence.min() >= 128


def test_the_exponent_is_the_slope_over_all_sides() -> None:
    known = {"10": outcome(100, 3), "20": outcome(400, 12), "40": outcome(1600, 48)}
    assert giant.exponent(known, "wall_s") == pytest.approx(1)
    assert giant.exponent(known, "cpu_s") == pytest.approx(1.5)


@pytest.mark.bench
@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize(
    ("more", "kept"), [([], "giant.json"), (["--interior", "--halo", "16"], "giant-interior-halo-16.json")]
)
def test_sides_may_be_measured_one_by_one(tmp_path: Path, more: list[str], kept: str) -> None:
    for side in ("2048", "2560"):
        asked = ["--side", side, "--folder", str(tmp_path), "--section", "none", *more]
        done = CliRunner().invoke(giant.main, asked)
        assert done.exit_code == 0, done.output
    found = [json.loads(line) for line in done.output.splitlines() if line.startswith("{")]
    figures = {each["figure"]: each["value"] for each in found}
    known = json.loads((tmp_path / kept).read_text())
    assert known.keys() == {"2048", "2560"}
    for each in known.values():
        assert each["job"]["objects"] == each["made"]["nuclei"] > 0
        assert each["decode"]["cpu_s"] > 0
    assert figures["giant.tissue"] > 0.5
    assert figures["giant.vs_decode"] > 1
    assert 100 < figures["giant.peak_mb"] < 1000
    assert {"giant.exponent", "giant.cpu_exponent"} < figures.keys()
    assert [path.name for path in tmp_path.iterdir()] == [kept]
