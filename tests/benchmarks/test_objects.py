"""The benchmark of objects, on few of them: it draws what it says, and ends with its figures."""

import json

import pytest
from click.testing import CliRunner

from benchmarks import objects


@pytest.mark.bench
@pytest.mark.slow
@pytest.mark.process
def test_every_nucleus_that_is_drawn_is_found() -> None:
    done = CliRunner().invoke(objects.main, ["--objects", "400"])
    assert done.exit_code == 0, done.output
    figures = {each["figure"]: each["value"] for each in map(json.loads, done.output.splitlines()[-7:])}
    assert figures["objects.count"] == 400
    assert figures["objects.peak_mib"] > figures["objects.idle_mib"] > 0
    # differences of two runs, next to nothing of so small a plane: of either sign on a busy machine
    assert {"objects.pyramids_cpu_s_per_gpx", "objects.zarr_cpu_s_per_gpx", "objects.cpu_ms_per_1000"} < figures.keys()
