"""The benchmark of cancels, on few regions: it ends with its figures; how quick is no matter here."""

import json

import pytest

from benchmarks import cancel


@pytest.mark.process
@pytest.mark.bench
@pytest.mark.slow
def test_a_small_cancel_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    cancel.main(["--regions", "100", "--repeat", "1"], standalone_mode=False)
    figures = {line["figure"]: line["value"] for line in map(json.loads, capsys.readouterr().out.splitlines()[-2:])}
    assert figures.keys() == {"cancel.wall_ms", "cancel.growth"}
    assert all(value > 0 for value in figures.values())
