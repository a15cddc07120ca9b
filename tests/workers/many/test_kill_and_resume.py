"""Six slides of six formats in one folder, by the real command: killed, started again, looked at by other readers."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
from aperio_slide import write_aperio
from dicom_series import write_series
from made_slides import write_images, write_slide
from mirax_slide import mirax_files, write_mirax
from numpy.typing import NDArray

from benchmarks.format_zarr import write_image

pytestmark = [pytest.mark.process, pytest.mark.slow]

NAMES = ["made", "s", "scanned", "series", "several", "zipped"]
WAIT_S = 120


@pytest.fixture
def slides(tmp_path: Path, stained: NDArray[np.uint8]) -> Path:
    folder, pixels = tmp_path / "slides", stained[:768, :1024]
    folder.mkdir()
    write_slide(folder / "made.tif", pixels)
    write_mirax(folder, mirax_files(pixels))
    write_aperio(folder / "scanned.svs")
    write_images(folder / "several.ome.tif", {"one": [pixels]})
    write_series(folder / "below" / "series", pixels)
    stored = write_image(tmp_path / "a.zarr", pixels.transpose(2, 0, 1))
    subprocess.run([sys.executable, "-m", "zipfile", "-c", folder / "zipped.ome.zarr.zip", "."], cwd=stored, check=True)
    return folder


def command(slides: Path, out: Path, model: Path) -> list[str]:
    module = ["-m", "tests.fixtures.colour_segment"]
    options = ["--model", model, "--region-px", 256, "--jobs", 2, "--summary", out.parent / "cohort.parquet"]
    return [str(each) for each in (sys.executable, *module, slides, "-o", out, *options)]


def begun(slides: Path, out: Path, model: Path, root: Path, delay_s: float) -> subprocess.Popen[str]:
    """Start the command, and return it once the second slide is on its way and a region of it has landed."""
    process = subprocess.Popen(
        command(slides, out, model), cwd=root, env=dict(os.environ) | {"COLOUR_DELAY_S": str(delay_s)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until = time.monotonic() + WAIT_S
    while not any(out.glob("*/labels.zarr/*/c/*/*")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)
    return process


def test_six_formats_killed_and_resumed(slides: Path, tmp_path: Path, model_folder: Path, repo_root: Path) -> None:
    out = tmp_path / "out"
    process = begun(slides, out, model_folder, repo_root, 0.3)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    process.kill()
    process.communicate()
    _, left = psutil.wait_procs(children, timeout=20)
    assert not left, "nobody goes on with what a killed run began"
    assert not (tmp_path / "cohort.parquet").exists()
    complete = [path.parent.name for path in out.glob("*/result.json")]
    assert len(complete) < len(NAMES)

    done = subprocess.run(
        command(slides, out, model_folder), cwd=repo_root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    table = done.stdout.splitlines()
    assert table[0].split()[:2] == ["slide", "state"]
    assert sorted(line.split()[0] for line in table[1:7]) == NAMES
    assert "6 slides" in table[7]
    logs = "".join((out / name / "segment.log").read_text() for name in NAMES)
    assert any(f"{count} done before" in logs for count in range(1, 12)), "regions that had landed were kept"

    found = pq.read_table(tmp_path / "cohort.parquet").to_pydict()
    assert sorted(found["name"]) == NAMES
    for name, tissue, count in zip(found["name"], found["tissue_mm2"], found["count_nucleus"], strict=True):
        said = json.loads((out / name / "statistics.json").read_bytes())
        assert tissue == said["tissue_mm2"]
        assert count == said["classes"][1]["count"] == pq.read_metadata(out / name / "objects.parquet").num_rows
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/*")}
    again = subprocess.run(
        command(slides, out, model_folder), cwd=repo_root, capture_output=True, text=True, check=False
    )
    assert again.returncode == 0
    assert again.stderr.count(": done before") == 6
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/*")} == before
    cells = [line.replace("done before", "done").split() for line in again.stdout.splitlines()[1:7]]
    assert cells == [line.split() for line in table[1:7]]


def test_ctrl_c_ends_what_runs_and_prints_the_table(
    slides: Path, tmp_path: Path, model_folder: Path, repo_root: Path
) -> None:
    process = begun(slides, tmp_path / "out", model_folder, repo_root, 3)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in told
    assert "not begun" in told
    assert not psutil.wait_procs(children, timeout=20)[1]
    assert set(pq.read_table(tmp_path / "cohort.parquet")["state"].to_pylist()) <= {"done", "interrupted", "not begun"}
