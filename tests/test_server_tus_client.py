"""The client that people use, tus-js-client from npm, driven from Node against a real gateway."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
from tus_fixtures import Tus

CLIENT = Path(__file__).with_name("tus_client")


def run_client(tus: Tus, way: str, content: bytes, folder: Path) -> dict[str, Any]:
    """Have tus-js-client upload a file of these bytes in one of the ways of `upload.mjs`; return what it said."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node on the path")
    if not (CLIENT / "node_modules" / "tus-js-client").is_dir():
        pytest.skip("tus-js-client is not installed: `make test` does it, or `npm ci` in tests/tus_client")
    path = folder / "slide.tif"
    path.write_bytes(content)
    command = [node, str(CLIENT / "upload.mjs"), way, f"{tus.url}/v1/uploads", str(path), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_pause_and_resume(tus: Tus, tus_slide: bytes, tmp_path: Path) -> None:
    said = run_client(tus, "pause", tus_slide, tmp_path)
    first, second = (urlparse(url).path for url in said["urls"])
    assert first == second
    assert said["found"] == 1
    assert said["requests"].count("POST 201") == 1
    assert said["requests"].count("HEAD 200") == 1
    assert said["requests"].count("PATCH 204") == -(-len(tus_slide) // 700_001)
    tus.assert_slide(first, tus_slide)


def test_parallel_parts(tus: Tus, tus_slide: bytes, tmp_path: Path) -> None:
    said = run_client(tus, "parallel", tus_slide, tmp_path)
    assert said["requests"].count("POST 201") == 4
    tus.assert_slide(urlparse(said["urls"][0]).path, tus_slide)


def test_chunks_with_checksums(tus: Tus, tus_slide: bytes, tmp_path: Path) -> None:
    said = run_client(tus, "checksum", tus_slide, tmp_path)
    assert said["checksums"] == said["requests"].count("PATCH 204") == -(-len(tus_slide) // 700_001)
    tus.assert_slide(urlparse(said["urls"][0]).path, tus_slide)


def test_a_refusal_reaches_the_client_with_its_reason(tus: Tus, tus_slide: bytes, tmp_path: Path) -> None:
    said = run_client(tus, "refused", tus_slide, tmp_path)
    assert "422" in said["error"]
    assert ".exe is no slide format" in said["error"]
    assert said["requests"] == ["POST 422"]  # and it does not try again
