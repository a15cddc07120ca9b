"""The client that people use, tus-js-client from npm, driven from Node against a real gateway."""

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
from tus_fixtures import WAIT_S, Tus, gateway_process
from wanted import absent, program

from workers.core.settings import Settings

pytestmark = pytest.mark.browser

CLIENT = Path(__file__).resolve().parents[2] / "tus_client"
CHUNK_BYTES = 700_001
"""As in `upload.mjs`."""


def run_client(tus: Tus, way: str, content: bytes, folder: Path) -> dict[str, Any]:
    """Have tus-js-client upload a file of these bytes in one of the ways of `upload.mjs`; return what it said."""
    with begun_client(tus, way, content, folder) as client:
        return said_by(client)


@contextmanager
def begun_client(tus: Tus, way: str, content: bytes, folder: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """Start tus-js-client in one of the ways of `upload.mjs`."""
    node = program("node")
    if not (CLIENT / "node_modules" / "tus-js-client").is_dir():
        absent("node", "tus-js-client is not installed: `make test` does it, or `npm ci` in tests/tus_client")
    path = folder / "slide.tif"
    path.write_bytes(content)
    command = [node, str(CLIENT / "upload.mjs"), way, f"{tus.url}/v1/uploads", str(path), str(folder), *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
        try:
            yield client
        finally:
            client.kill()


def said_by(client: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for the end of the client and return what it said."""
    output, complaints = client.communicate(timeout=WAIT_S)
    assert client.returncode == 0, complaints
    said: dict[str, Any] = json.loads(output)
    return said


def wait_until_reached(client: subprocess.Popen[str], folder: Path) -> None:
    """Wait until the client is where it waits for us."""
    deadline = time.monotonic() + WAIT_S
    while not (folder / "reached").exists() and client.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (folder / "reached").exists()


def test_pause_and_resume(tus: Tus, tus_slide: bytes, tmp_path: Path) -> None:
    said = run_client(tus, "pause", tus_slide, tmp_path)
    first, second = (urlparse(url).path for url in said["urls"])
    assert first == second
    assert said["found"] == 1
    assert said["requests"].count("POST 201") == 1
    assert said["requests"].count("HEAD 200") == 1
    assert said["requests"].count("PATCH 204") == -(-len(tus_slide) // CHUNK_BYTES)
    tus.assert_slide(first, tus_slide)


def test_parallel_parts(tus: Tus, tus_slide: bytes, tmp_path: Path) -> None:
    said = run_client(tus, "parallel", tus_slide, tmp_path)
    assert said["requests"].count("POST 201") == 4
    tus.assert_slide(urlparse(said["urls"][0]).path, tus_slide)


def test_chunks_with_checksums(tus: Tus, tus_slide: bytes, tmp_path: Path) -> None:
    said = run_client(tus, "checksum", tus_slide, tmp_path)
    assert said["checksums"] == said["requests"].count("PATCH 204") == -(-len(tus_slide) // CHUNK_BYTES)
    tus.assert_slide(urlparse(said["urls"][0]).path, tus_slide)


def test_a_refusal_reaches_the_client_with_its_reason(tus: Tus, tus_slide: bytes, tmp_path: Path) -> None:
    said = run_client(tus, "refused", tus_slide, tmp_path)
    assert "422" in said["error"]
    assert ".vms slides are sets of files" in said["error"]
    assert said["requests"] == ["POST 422"]  # and it does not try again


def test_a_gateway_killed_in_the_middle_of_a_chunk_is_waited_for_and_gone_on_with(
    tmp_path: Path, gateway_queue: str, tus_slide: bytes
) -> None:
    content = tus_slide.ljust(8_000_000, b"\0")
    settings = Settings(data_dir=tmp_path / "data", redis_url=gateway_queue, disk_reserve_bytes=0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        tus = Tus(f"http://127.0.0.1:{listener.getsockname()[1]}", settings)
        tus.http.timeout = WAIT_S
        with tus.http, gateway_process(settings, listener) as gateway, ExitStack() as stack:
            client = stack.enter_context(begun_client(tus, "killed", content, tmp_path))
            wait_until_reached(client, tmp_path)
            (upload,) = (settings.data_dir / "uploads").iterdir()
            tus.wait_for_bytes(upload.name, 3_000_000)
            gateway.kill()
            gateway.wait()
            (tmp_path / "go").touch()
            stack.enter_context(gateway_process(settings, listener))
            said = said_by(client)
            assert said["requests"] == ["POST 201", "PATCH 204", "HEAD 200", "PATCH 204", "PATCH 204"]
            tus.assert_slide(urlparse(said["urls"][0]).path, content)


def test_a_locked_upload_is_waited_for(
    tus: Tus, tus_slide: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.uploads.locks.GRACE_S", 0.1)
    address = tus.new(len(tus_slide))
    with tus.begin_patch(address, 0, len(tus_slide), tus_slide[:2_000_000]) as other:
        tus.wait_for_bytes(address, 0)
        with begun_client(tus, "locked", tus_slide, tmp_path, tus.url + address) as client:
            wait_until_reached(client, tmp_path)
            other.close()
            said = said_by(client)
    assert said["requests"][:2] == ["HEAD 200", "PATCH 423"]
    assert said["requests"][-1] == "PATCH 204"
    tus.assert_slide(address, tus_slide)


def test_an_expired_upload_is_a_clear_error_or_begun_anew(tus: Tus, tus_slide: bytes, tmp_path: Path) -> None:
    with begun_client(tus, "expired", tus_slide, tmp_path) as client:
        wait_until_reached(client, tmp_path)
        (first,) = (view["id"] for view in tus.http.get("/v1/uploads").json()["items"] if view["state"] == "uploading")
        tus.age(f"/v1/uploads/{first}", 1)
        (tmp_path / "go").touch()
        said = said_by(client)
    assert "unable to resume upload" in said["error"]
    assert "response code: 410" in said["error"]
    old, new = (urlparse(url).path for url in said["urls"])
    assert old == f"/v1/uploads/{first}" != new
    assert said["requests"].count("HEAD 410") == 2
    tus.assert_slide(new, tus_slide)


def test_an_upload_over_the_cap_is_a_clear_error(tus: Tus, tus_slide: bytes, tmp_path: Path) -> None:
    said = run_client(tus, "large", tus_slide, tmp_path)
    assert "The upload is too large." in said["error"]
    assert said["requests"][: said["after"]] == ["POST 413"]  # before the bytes, and not again
    tus.assert_slide(urlparse(said["urls"][0]).path, tus_slide)


def test_an_altered_chunk_is_told_and_sent_again(tus: Tus, tus_slide: bytes, tmp_path: Path) -> None:
    said = run_client(tus, "altered", tus_slide, tmp_path)
    assert "do not have the checksum that came with them" in said["error"]
    assert said["requests"][:5] == ["POST 201", "PATCH 204", "PATCH 460", "HEAD 200", "PATCH 204"]
    tus.assert_slide(urlparse(said["urls"][0]).path, tus_slide)
