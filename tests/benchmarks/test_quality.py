"""The benchmark of ink, folds and blur prints its figures, and its scores are those of a count by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import quality
from benchmarks.quality_artefacts import blurred_fields, clean_scenes, folded, inked
from benchmarks.tissue_thumbnails import Textures


@pytest.mark.bench
@pytest.mark.slow
def test_a_run_prints_every_figure(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "FIELDS", 1)
    options = ["--data", str(shared_data), "--scenes", "1", "--pictures", str(tmp_path)]
    quality.main(options, standalone_mode=False)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    figures = {line["figure"]: line["value"] for line in map(json.loads, lines)}
    for kind in ("ink", "blur"):
        assert {f"quality.{kind}_recall", f"quality.{kind}_precision"} <= figures.keys()
    assert {"quality.group_a.fold_recall", "quality.group_b.fold_recall", "quality.fold_on_clean"} <= figures.keys()
    assert all(0 <= value <= 1 for value in figures.values())
    assert len(list(tmp_path.iterdir())) == 2 * 3


def test_precision_forgives_what_lies_near() -> None:
    spoiled, found = np.zeros((2, 30, 30), np.bool_)
    spoiled[10:15, 10:20] = found[10:15, 10:15] = True
    found[10, 22] = found[0, 0] = True  # three px beside it, and far away
    assert quality.score(found, spoiled) == (0.5, 26 / 27)
    assert quality.score(np.zeros_like(found), spoiled) == (0, None)


def test_scenes_are_the_same_every_time(shared_data: Path) -> None:
    scenes = [clean_scenes(shared_data, Textures(shared_data), 1, 5)[0] for _ in range(2)]
    for spoil in (lambda scene, rng: inked(scene, 0, rng), folded):
        first, second = (spoil(scene, np.random.default_rng(3)) for scene in scenes)
        np.testing.assert_array_equal(first.pixels, second.pixels)
        assert (first.pixels != scenes[0].pixels).any()
    first_fields, second_fields = (blurred_fields(shared_data, 1, "B", 4) for _ in range(2))
    assert [field.name for field in first_fields] == [field.name for field in second_fields]
