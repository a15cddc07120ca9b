"""The benchmark of starts: real processes, and figures that hang together."""

import json

import pytest
from click.testing import CliRunner

from benchmarks import start


@pytest.mark.bench
@pytest.mark.slow
@pytest.mark.process
def test_a_worker_takes_a_task_after_more_than_an_import_of_torch() -> None:
    done = CliRunner().invoke(start.main, ["--repeat", "1"])
    assert done.exit_code == 0, done.output
    figures = {each["figure"]: each["value"] for each in map(json.loads, done.output.splitlines()[-5:])}
    assert figures["start.worker_cpu_s"] > 0
    assert figures["start.segment_cpu_s"] < figures["start.worker_cpu_s"]  # which imports torch besides
    assert figures["start.vs_torch"] > 1
