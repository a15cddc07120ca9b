"""What one worker takes does not grow with the pixels of the slide."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

SIDE = 20_000


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc")
def test_no_stage_holds_a_plane_of_the_slide(model_folder: Path, repo_root: Path, tmp_path: Path) -> None:
    program = repo_root / "tests" / "fixtures" / "sparse_slide.py"
    config = json.loads((model_folder / "config.json").read_text())
    (model_folder / "config.json").write_text(json.dumps(config | {"tile_px": 512}))
    ran = subprocess.run(
        [sys.executable, str(program), str(SIDE), str(model_folder), str(tmp_path / "out")],
        env=os.environ | {"PYTHONPATH": str(repo_root)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    before, after = map(int, ran.stdout.split())
    assert (tmp_path / "out" / "result.json").exists()
    assert after - before < SIDE**2, "as much as one byte for each pixel"
