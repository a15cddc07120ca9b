"""The benchmark of recovery prints its figures by their names, and loses no region; how quick is no matter here."""

import json

import pytest

from benchmarks import recovery


@pytest.mark.process
@pytest.mark.bench
@pytest.mark.slow
def test_one_kill_is_measured(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "ROW", 2)
    recovery.main(["--kills", "1", "--way", "supervised", "--model", "nuclei-fast"], standalone_mode=False)
    figures = {line["figure"]: line["value"] for line in map(json.loads, capsys.readouterr().out.splitlines()[-2:])}
    assert figures.keys() == {"recovery.supervised_max_s", "recovery.lost_regions"}
    assert figures["recovery.supervised_max_s"] > 0
    assert figures["recovery.lost_regions"] == 0
