"""The whole line with nothing replaced: a supervised server, a worker with a real network, the client, the results."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from ldiffusion_client import Client
from server.cli.demo import serving
from server.cli.submit import submit
from workers.core.errors.base import Unavailable
from workers.core.schemas import Provenance
from workers.core.settings import Settings

pytestmark = pytest.mark.process


def test_a_slide_goes_in_and_its_results_come_out(
    random_model: Path, made_slide: Callable[..., Path], stained: NDArray[np.uint8], tmp_path: Path
) -> None:
    slide = made_slide(stained[200:700, 300:900])
    out = tmp_path / "out"
    settings = Settings(models_dir=random_model.parent, device="cpu", torch_threads=1)
    with serving(settings, tmp_path / "data", tmp_path / "server.log") as url:
        submit(url, slide, out, {"model": random_model.name, "region_px": 512})
        written = {path.name: path.stat().st_mtime_ns for path in out.iterdir() if path.name != "result.json"}
        submit(url, slide, out, {"model": random_model.name, "region_px": 512})
        with Client(url) as client:
            assert len(client.jobs()) == len(client.slides()) == 1  # the second time goes on with the first
            again = client.upload(slide, resume=False)
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir() if path.name != "result.json"} == written
    provenance = Provenance.model_validate_json((out / "result.json").read_bytes())
    assert again.sha256 == provenance.slide_sha256 == hashlib.sha256(slide.read_bytes()).hexdigest()
    assert again.id != provenance.slide_id
    assert (provenance.regions, provenance.mpp_source, provenance.model_mpp) == (2, "metadata", 0.5)
    labels = tifffile.imread(out / "labels.ome.tif")
    assert labels.shape == (500, 600)
    assert set(np.unique(labels)) <= {0, 1, 2}
    statistics = json.loads((out / "statistics.json").read_text())
    assert statistics["classes"][1]["pixels"] == np.count_nonzero(labels == 1)
    assert sorted(path.name for path in out.iterdir()) == [
        *("labels.ome.tif", "objects.parquet", "overlay.ome.tif", "preview.png"),
        *("regions.geojson.gz", "result.json", "statistics.json"),
    ]


def test_a_server_that_does_not_come_up_says_why(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    with (
        pytest.raises(Unavailable, match=r"ended before it was ready\. It said: error: invalid_request: data_dir: "),
        serving(Settings(), tmp_path / "data", tmp_path / "server.log"),
    ):
        pass
