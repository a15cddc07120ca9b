"""The benchmark of products, on a small plane: it makes both files, and ends with its figures."""

import json

import pytest
from click.testing import CliRunner

from benchmarks import outputs


@pytest.mark.bench
@pytest.mark.slow
@pytest.mark.process
def test_both_codings_of_a_small_plane() -> None:
    done = CliRunner().invoke(outputs.main, ["--side", "1024", "--side", "2048"])
    assert done.exit_code == 0, done.output
    figures = {each["figure"]: each["value"] for each in map(json.loads, done.output.splitlines()[-3:])}
    assert figures["outputs.dicom_peak_mb"] > figures["outputs.idle_mb"] > 0
    assert 0 < figures["outputs.dicom_growth"] < 2


@pytest.mark.bench
@pytest.mark.slow
@pytest.mark.process
def test_all_default_outputs_of_a_small_plane() -> None:
    done = CliRunner().invoke(outputs.main, ["--nuclei", "--side", "1024"])
    assert done.exit_code == 0, done.output
    figures = {each["figure"]: each["value"] for each in map(json.loads, done.output.splitlines()[-4:])}
    assert figures["outputs.objects"] == (1024 // outputs.NUCLEUS_PX) ** 2
    assert figures["outputs.peak_mb"] > figures["outputs.idle_mb"] > 0
    assert figures["outputs.cpu_s_per_gpx"] > 0
