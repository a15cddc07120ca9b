"""The benchmark of novelty: its AUROC is that of others, and what it spoils is spoiled the same each time."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks import trust
from benchmarks.trust_artefacts import KINDS, spoil
from benchmarks.trust_scores import CELL_PX, statistics


def test_auroc_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    clean = [rng.normal(0, 1, (6, 6)).ravel() for _ in range(8)]
    strange = [rng.normal(0.8, 1, 20) for _ in range(8)]
    truth = np.repeat([0, 1], [8 * 36, 8 * 20])
    value, (low, high) = trust.compare(clean, strange)
    assert value == pytest.approx(roc_auc_score(truth, np.concatenate([*clean, *strange])), abs=1e-3)
    assert low < value < high
    assert trust.compare(clean, clean)[0] == pytest.approx(0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_spoils_where_it_says_and_the_same_each_time(kind: str) -> None:
    pixels = np.random.default_rng(2).integers(60, 230, (128, 160, 3), dtype=np.uint8)
    seen, where = spoil(kind, pixels, 4)
    assert seen.shape == pixels.shape
    assert where.any()
    np.testing.assert_array_equal(seen, spoil(kind, pixels, 4).pixels)
    changed = np.abs(seen.astype(int) - pixels).max(axis=2)
    assert np.median(changed[where]) > 3
    assert where.all() or np.median(changed[~where]) == 0


def test_statistics_are_those_of_each_cell() -> None:
    pixels = np.full((2 * CELL_PX, CELL_PX, 3), 245, np.uint8)
    pixels[CELL_PX:] = 24  # a tenth of the light, nearly
    found = statistics(pixels)
    assert found.shape == (2, 1, 7)
    np.testing.assert_allclose(found[:, 0, :3], [[0] * 3, [np.log10(245 / 24)] * 3], atol=1e-9)
    np.testing.assert_allclose(found[:, 0, 3:6], 0, atol=1e-6)
