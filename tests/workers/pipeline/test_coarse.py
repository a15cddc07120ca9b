"""The coarse preview: close to what a made scene holds, weights as a loop has them, and when it is due."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from workers.core.model.schemas import ObjectRules
from workers.core.objects.coarse import COARSE
from workers.core.schemas import Plan
from workers.pipeline import coarse
from workers.pipeline.coarse import CELL, Blocks, Sample
from workers.pipeline.overview import Overview
from workers.pipeline.tiling import WorkingPlane
from workers.pipeline.tissue import TissueMask

MakePlan = Callable[..., Plan]
SIDE = 4096
PINK, VIOLET = (225, 170, 200), (90, 40, 130)


class Scene:
    """Nuclei on pink tissue, the denser the farther right, on a plane of `SIDE` px; a reader of it and its model."""

    digest = "d" * 64

    def __init__(self, plan: Plan) -> None:
        rng = np.random.default_rng(0)
        self.plane = WorkingPlane.from_plan(plan)
        places = rng.random((9000, 2))
        places[:, 1] = np.sqrt(places[:, 1])  # in proportion to x
        spots = np.zeros((SIDE, SIDE), np.bool_)
        spots[tuple((places * SIDE).astype(int).T)] = True
        self.nuclei = ndimage.binary_dilation(spots, iterations=4)
        self.pixels = np.where(self.nuclei[:, :, None], VIOLET, PINK).astype(np.uint8)
        self.centres = np.array(ndimage.center_of_mass(self.nuclei, *_numbered(self.nuclei)))

    def read(self, w_x: int, w_y: int, width: int, height: int) -> NDArray[np.uint8]:
        out = np.full((height, width, 3), 255, np.uint8)
        top, left = max(0, -w_y), max(0, -w_x)
        part = self.pixels[max(0, w_y) : w_y + height, max(0, w_x) : w_x + width]
        out[top : top + part.shape[0], left : left + part.shape[1]] = part
        return out

    def predict(self, images: NDArray[np.uint8], *_asked: object) -> tuple[NDArray[np.uint8], ...]:
        labels = (images[:, :, :, 0] < 150).astype(np.uint8)
        return labels, np.full_like(labels, 255), labels * np.uint8(255)

    def density(self, columns: int, cell: float) -> NDArray[np.float64]:
        edges, mm2 = np.arange(columns + 1) * cell, (cell * 0.5 / 1000) ** 2
        counts: NDArray[np.float64] = np.histogram2d(self.centres[:, 0], self.centres[:, 1], bins=(edges, edges))[0]
        return counts.ravel() / mm2


def _numbered(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    numbers, count = ndimage.label(mask)
    return numbers, np.arange(1, count + 1)


def test_it_is_close_to_what_the_slide_holds(make_plan: MakePlan) -> None:
    plan = make_plan(SIDE, SIDE, 1024, stride_px=16, objects=ObjectRules(interior=True, smallest_um2=2))
    scene = Scene(plan)
    overview = Overview.of(
        scene.pixels.reshape(SIDE // 16, 16, -1, 16, 3).mean(axis=(1, 3)).astype(np.uint8), (Fraction(16), Fraction(16))
    )
    mask = np.ones(overview.dark.shape, np.bool_)
    mask[:64, :64] = False  # the first cell is glass
    tissue = TissueMask(mask, np.zeros_like(mask), Fraction(16), Fraction(16))
    blocks = Blocks.of(overview, mask, scene.plane)
    samples = coarse.take_samples(scene, blocks, tissue, scene, plan, lambda: None)
    preview = coarse.estimate(blocks, samples, plan)
    assert (preview.columns, preview.rows, preview.cell_px) == (4, 4, (1024.0, 1024.0))
    assert coarse.SAMPLES_MIN <= preview.samples <= coarse.SAMPLES_MAX
    assert preview.per_mm2 is not None
    assert preview.per_mm2[0] is None
    found, truth = np.array(preview.per_mm2[1:], float), scene.density(4, 1024)[1:]
    assert np.corrcoef(found, truth)[0, 1] > 0.9
    assert found.sum() == pytest.approx(truth.sum(), rel=0.1)
    shares = np.array([each.share for each in preview.classes if each.index == 1], float)[0]
    cells = scene.nuclei.reshape(4, 1024, 4, 1024).mean(axis=(1, 3)).ravel()
    np.testing.assert_allclose(shares[1:], cells[1:], atol=0.05)


def test_the_same_seed_looks_at_the_same_places_and_a_want_ends_it(make_plan: MakePlan) -> None:
    plan = make_plan(SIDE, SIDE, 1024, stride_px=16, objects=ObjectRules(interior=True))
    scene = Scene(plan)
    mask = np.ones((SIDE // 16, SIDE // 16), np.bool_)
    tissue = TissueMask(mask, ~mask, Fraction(16), Fraction(16))
    blocks = Blocks((2048.0, 2048.0), (128.0, 128.0), np.ones((32, 32)), np.ones((32, 32, 1)))
    asked = (scene, blocks, tissue, scene, plan)
    first, again = (coarse.take_samples(*asked, lambda: None) for _ in range(2))
    both = min(len(first), len(again))  # on a busy machine one of them stops earlier
    assert [each[:3] for each in first[:both]] == [each[:3] for each in again[:both]]
    assert len({each[:2] for each in first}) == len(first)

    def ends() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        coarse.take_samples(*asked, ends)


def samples_of(values: NDArray[np.float64], places: Sequence[tuple[int, int]]) -> list[Sample]:
    return [Sample(row, column, 1, values[row, column]) for row, column in places]


def test_what_the_overview_explains_is_expected_everywhere() -> None:
    rng = np.random.default_rng(1)
    features = np.concatenate([np.ones((20, 30, 1)), rng.random((20, 30, 3))], axis=2)
    values = features @ np.array([[0.2, 1.0], [0.5, 0.0], [0.1, 2.0], [0.0, 0.3]])
    blocks = Blocks((1.0, 1.0), (1.0, 1.0), np.ones((20, 30)), features)
    places = [(int(row), int(column)) for row, column in rng.permutation(np.argwhere(np.ones((20, 30))))[:80]]
    expected = coarse.expected_of(blocks, samples_of(values, places), 2)
    np.testing.assert_allclose(expected, values, rtol=0.1)


def test_what_it_does_not_explain_is_interpolated_as_a_loop_does_it() -> None:
    rng = np.random.default_rng(2)
    at = rng.integers(0, 12, (7, 2))
    rest = rng.normal(size=(7, 2))
    found = coarse._interpolated(at, rest, (12, 15))
    for row in range(12):
        for column in range(15):
            weights = [np.exp(-((row - y) ** 2 + (column - x) ** 2) / (2 * CELL**2)) for y, x in at]
            expected = sum(w * r for w, r in zip(weights, rest, strict=True)) / (sum(weights) + coarse.SHRINK)
            np.testing.assert_allclose(found[row, column], expected)


def test_bands_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    pixels, mask = rng.integers(0, 256, (203, 95, 3), np.uint8), rng.random((203, 95)) < 0.7
    overview = Overview.of(pixels, (Fraction(16), Fraction(16)))
    plane = WorkingPlane(95 * 16, 203 * 16, Fraction(1), Fraction(1))
    whole = Blocks.of(overview, mask, plane)
    monkeypatch.setattr(coarse, "BAND", 2)
    banded = Blocks.of(overview, mask, plane)
    np.testing.assert_allclose(banded.features, whole.features)
    np.testing.assert_array_equal(banded.tissue, whole.tissue)
    assert whole.tissue[0, 0] == mask[:8, :8].mean()
    assert whole.tissue[-1, -1] == mask[200:, 88:].sum() / 64


def test_it_is_due_once_before_the_second_region_of_a_large_interactive_job(
    make_plan: MakePlan, tmp_path: Path
) -> None:
    large, small = make_plan(9000, 9000, 1024, regions=tuple(range(40))), make_plan(900, 900, 256, regions=(0, 1, 2))
    due = [index for index in large.regions if coarse.is_due(large, index, lambda: "interactive", tmp_path)]
    assert due == [1]
    assert not coarse.is_due(large, 1, lambda: "batch", tmp_path)
    assert not coarse.is_due(small, 1, lambda: "interactive", tmp_path)
    (tmp_path / COARSE).write_text("{}")
    assert not coarse.is_due(large, 1, lambda: "interactive", tmp_path)
