"""The benchmark of stains prints its figures, and what it makes is what its name says."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import stain
from workers.outputs.stain import VECTORS


@pytest.mark.bench
@pytest.mark.slow
def test_a_run_prints_every_figure(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stain.main(["--data", str(shared_data), "--limit", "1"], standalone_mode=False)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    figures = {line["figure"]: line["value"] for line in map(json.loads, lines)}
    assert figures.keys() <= {"stain.he_told", *(f"stain.{name}_told" for name in stain.MADE)}
    assert figures["stain.he_told"] == 0
    assert figures["stain.dab_some_told"] == 1


def test_stains_are_told_apart_and_mixed_again() -> None:
    parts = np.random.default_rng(0).uniform(0, 0.4, (6, 7, 3))
    pixels = stain.mixed(parts, *VECTORS)
    assert np.allclose(stain.stains(pixels), parts, atol=1e-9)
    without = stain.all_dab(stain.mixed(parts * (1, 1, 0), *VECTORS))
    assert np.allclose(
        stain.stains(without), np.stack([parts[..., 0], 0 * parts[..., 0], parts[..., 1]], -1), atol=1e-9
    )
