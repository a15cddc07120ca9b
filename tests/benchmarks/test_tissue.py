"""The benchmark of the tissue mask prints its figures, and its scores are those of a count by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import tissue
from benchmarks.tissue_kinds import GROUP_A, group_b
from benchmarks.tissue_methods import otsu_on_grey, otsu_on_stain
from benchmarks.tissue_thumbnails import Textures, thumbnail


def test_a_run_prints_every_figure(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tissue, "GROUP_A", GROUP_A[12:13])
    tissue.main(["--data", str(shared_data), "--kinds", "2", "--pictures", str(tmp_path)], standalone_mode=False)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    figures = {line["figure"]: line["value"] for line in map(json.loads, lines)}
    assert list(figures)[-3:] == ["tissue.iou_mean", "tissue.iou_with_rim_mean", "tissue.worst_recall"]
    assert all(0 <= value <= 1 for value in figures.values())
    assert len(list(tmp_path.iterdir())) == 3


def test_scores_count_the_rim_only_where_they_say_so() -> None:
    truth, found = np.zeros((20, 20), np.bool_), np.zeros((20, 20), np.bool_)
    truth[5:10, 5:10] = found[4:11, 6:11] = True  # 25 px; 7 x 5 px, of which 5 x 4 hit
    found[0, 0] = True
    assert tissue.score(found, truth) == (20 / 26, 20 / (25 + 35 + 1 - 20), 20 / 25)


def test_a_thumbnail_and_a_group_are_the_same_every_time(shared_data: Path) -> None:
    assert group_b(5, 3) == group_b(5, 3) != group_b(5, 4)
    first, truth = thumbnail(GROUP_A[3], Textures(shared_data), 3)
    second, _ = thumbnail(GROUP_A[3], Textures(shared_data), 3)
    np.testing.assert_array_equal(first, second)
    assert (first[~truth].min(axis=1) > 200).mean() > 0.99  # glass and canvas


def test_the_kept_methods_find_what_is_easy() -> None:
    pixels, truth = np.full((60, 60, 3), 244, np.uint8), np.zeros((60, 60), np.bool_)
    truth[20:40, 15:45] = True
    pixels[truth] = (150, 90, 160)
    np.testing.assert_array_equal(otsu_on_grey(pixels), truth)
    assert tissue.score(otsu_on_stain(pixels), truth).iou > 0.99
