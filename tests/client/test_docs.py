"""The examples of docs/client.md, run as they stand against a real gateway and a real worker."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from gateway_fixtures import running_gateway
from made_models import write_model_config
from made_slides import write_slide
from numpy.typing import NDArray

from ldiffusion_client import Client
from ldiffusion_client.errors import Refused
from workers.core.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "http://127.0.0.1:8000"


@pytest.fixture
def served(tmp_path: Path, empty_queue: str) -> Iterator[str]:
    """Address of a gateway with a worker, whose model of the default's name knows red."""
    write_model_config(tmp_path / "models" / "nuclei")
    settings = Settings(
        data_dir=tmp_path / "data", models_dir=tmp_path / "models", redis_url=empty_queue, disk_reserve_bytes=0
    )
    names = ("data_dir", "models_dir", "redis_url")
    environment = {f"LDIFFUSION_{name.upper()}": str(getattr(settings, name)) for name in names}
    with (tmp_path / "worker.log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "fixtures" / "viewer_worker.py")],
            env=os.environ | environment | {"PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            stderr=log,
        )
    try:
        with running_gateway(settings) as url:
            yield url
    finally:
        worker.kill()
        worker.wait()


def blocks(name: str) -> list[str]:
    """The Python blocks of a document, with a server that is there instead of the one they name."""
    return re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / name).read_text(), flags=re.MULTILINE | re.DOTALL)


def test_the_example_runs_as_it_stands(
    served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = np.full((900, 1200, 3), 240, np.uint8)
    pixels[100:400, 200:700] = (200, 60, 130)  # as eosin; a purer red would be ink
    write_slide(tmp_path / "slide.tif", pixels)
    monkeypatch.chdir(tmp_path)
    notebook, awaiting = (block.replace(ADDRESS, served) for block in blocks("client.md"))
    seen: dict[str, Any] = {}
    exec(compile(notebook, "docs/client.md", "exec"), seen)
    said = capsys.readouterr().out
    assert "generic-tiff 1200 900 0.5" in said
    assert "{'succeeded': 1}" in said
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("for-qupath.geojson", "labels.ome.zarr", "preview.png", "regions.geojson.gz", "result.json"),
        "statistics.json",
    ]
    labels: NDArray[np.uint8] = np.asarray(zarr.open_array(tmp_path / "out/labels.ome.zarr/labels/classes/0")[:])
    assert (labels[100:400, 200:700] == 1).all()
    assert labels.shape == (900, 1200)
    assert np.count_nonzero(labels) == 300 * 500
    assert [each["properties"]["classification"]["name"] for each in seen["polygons"]] == ["nucleus"]
    exec(compile(awaiting, "docs/client.md", "exec"), seen)
    (ended,) = asyncio.run(seen["areas"](["slide.tif"]))
    with Client(served) as client:
        assert client.job(ended.id).results.keys() == {"result", "statistics", "statistics.csv"}
        with pytest.raises(Refused) as caught:
            client.download(ended.id, "segmentation.dcm", tmp_path / "s.dcm")
        assert caught.value.code == "product_refused"
