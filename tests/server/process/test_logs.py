"""A whole server that logs as JSON: every line of every process is JSON, and none names the slide."""

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from ldiffusion_client import Client, JobEnded, Refused
from server.cli.demo import serving
from workers.core.settings import Settings
from workers.core.store import Store

pytestmark = [pytest.mark.process, pytest.mark.slow]

NAME = "Müller_Eva_1954"
TELL_TALE = re.compile(r"M(ü|%C3%BC|\\u00fc|.{1,2})ller|Eva|1954")


def worker_pid(lines: list[dict[str, Any]]) -> int:
    return next(int(line["pid"]) for line in reversed(lines) if line["process"] == "worker")


def test_each_line_is_json_and_none_names_a_slide(
    random_model: Path, made_slide: Callable[..., Path], stained: NDArray[np.uint8], tmp_path: Path
) -> None:
    slide, log = made_slide(stained[200:700, 300:900], f"{NAME}.tif"), tmp_path / "server.log"
    settings = Settings(models_dir=random_model.parent, device="cpu", torch_threads=1, log_format="json")
    with serving(settings, tmp_path / "data", log) as url, Client(url) as client:
        info = client.upload(slide)
        assert NAME in info.filename
        done = client.wait(client.submit(info.id, model=random_model.name, region_px=512).id)
        httpx.get(f"{url}/{NAME}/{NAME}.svs", params={"q": NAME}, trust_env=False, timeout=60)
        httpx.put(
            f"{url}/v1/slides", params={"filename": f"{NAME}.svs"}, content=b"no slide", trust_env=False, timeout=60
        )
        (tmp_path / f"{NAME}.svs").write_bytes(slide.read_bytes()[:5000])
        with pytest.raises(Refused):
            client.upload(tmp_path / f"{NAME}.svs")
        other = client.upload(slide, resume=False)
        stored = Store(tmp_path / "data").slide_file(other.id)
        stored.write_bytes(stored.read_bytes()[:3000])
        failed = client.submit(other.id, model=random_model.name)
        with pytest.raises(JobEnded):
            client.wait(failed.id)
        os.kill(worker_pid([json.loads(line) for line in log.read_text().splitlines()]), signal.SIGKILL)
        again = client.submit(info.id, model=random_model.name, region_px=512, seed=1)
        client.wait(again.id)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {line["process"] for line in lines} == {"gateway", "worker", "supervisor"}
    assert [line for line in log.read_text().splitlines() if TELL_TALE.search(line)] == []
    of_jobs = [line for line in lines if line["process"] == "worker" and line.get("job") == done.id]
    assert {line.get("slide") for line in of_jobs} == {info.id}
    assert any(line["message"].endswith("(attempt 1)") for line in of_jobs)
    asked = [line for line in lines if line["process"] == "gateway" and line.get("job") == failed.id]
    assert all(re.fullmatch("[0-9a-f]{32}", line["request"]) for line in asked)
    assert any("SIGKILL" in line["message"] or "status -9" in line["message"] for line in lines)


def test_text_is_what_it_was(tmp_path: Path, random_model: Path) -> None:
    log = tmp_path / "server.log"
    settings = Settings(models_dir=random_model.parent, workers=0)
    with serving(settings, tmp_path / "data", log) as url:
        httpx.get(f"{url}/v1/models", headers={"X-Request-Id": "mine"}, trust_env=False, timeout=60)
    text = log.read_text()
    assert f"L-Diffusion Server is ready at {url}" in text
    access = r'^\d{4}-\S+ \S+ INFO gateway uvicorn\.access \[mine\]: .* "GET /v1/models HTTP/1\.1" 200$'
    assert re.search(access, text, re.MULTILINE)
