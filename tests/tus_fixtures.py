"""A gateway and a bare client for resumable uploads. A plugin of `conftest.py`."""

import base64
import hashlib
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tifffile
from gateway_fixtures import running_gateway

from server.process.children import module_command, module_environment
from server.uploads.records import Upload
from workers.core.settings import Settings
from workers.core.store import write_json

CHUNK = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}
WAIT_S = 120


class Tus:
    """What a client of the tus protocol sends, one request a call; and the data folder behind the gateway."""

    def __init__(self, url: str, settings: Settings) -> None:
        self.url = url
        self.settings = settings
        self.http = httpx.Client(base_url=url, timeout=60, trust_env=False)

    def create(self, length: int | None, body: bytes = b"", /, **headers: str) -> httpx.Response:
        """POST; underscores in names of headers stand for hyphens."""
        size = {} if length is None else {"Upload-Length": str(length)}
        sent = {"Tus-Resumable": "1.0.0", **size, **(CHUNK if body else {}), **named(headers)}
        return self.http.post("/v1/uploads", headers=sent, content=body)

    def new(self, length: int | None, body: bytes = b"", /, **headers: str) -> str:
        """Create an upload that must succeed, and return its address."""
        answer = self.create(length, body, **headers)
        assert answer.status_code == 201, answer.text
        return answer.headers["location"]

    def patch(self, address: str, offset: int, body: bytes, **headers: str) -> httpx.Response:
        """PATCH."""
        sent = {**CHUNK, "Upload-Offset": str(offset), **named(headers)}
        return self.http.patch(address, headers=sent, content=body)

    def offset(self, address: str) -> int:
        """HEAD, of an upload that must be there."""
        answer = self.http.head(address, headers={"Tus-Resumable": "1.0.0"})
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        return int(answer.headers["upload-offset"])

    def view(self, address: str) -> dict[str, Any]:
        """GET."""
        answer = self.http.get(address)
        assert answer.status_code == 200, answer.text
        view: dict[str, Any] = answer.json()
        return view

    def ended(self, address: str) -> dict[str, Any]:
        """Wait for the end of the check and return the upload."""
        deadline = time.monotonic() + WAIT_S
        while (view := self.view(address))["state"] == "checking" and time.monotonic() < deadline:
            time.sleep(0.05)
        return view

    def finish(self, address: str, content: bytes) -> None:
        """Send what is missing, and check that the slide that comes of it has the SHA-256 of `content`."""
        offset = self.offset(address)
        answer = self.patch(address, offset, content[offset:])
        assert answer.status_code == 204, answer.text
        self.assert_slide(address, content)

    def assert_slide(self, address: str, content: bytes) -> None:
        """Check that an upload became a slide of exactly these bytes, by what is said and by what is on the disk."""
        view = self.ended(address)
        assert (view["state"], view["error"]) == ("ready", None)
        digest = hashlib.sha256(content).hexdigest()
        assert self.http.get(f"/v1/slides/{view['slide_id']}").json()["sha256"] == digest
        (stored,) = (self.settings.data_dir / "slides" / view["slide_id"]).glob("original*")
        assert hashlib.sha256(stored.read_bytes()).hexdigest() == digest
        self.assert_no_bytes(address)

    def assert_no_bytes(self, address: str) -> None:
        """Check that what is known of an upload is all that stays of it; the bytes go after the end was said."""
        deadline = time.monotonic() + WAIT_S
        while names(self.folder(address)) != ["info.json"] and time.monotonic() < deadline:
            time.sleep(0.05)
        assert names(self.folder(address)) == ["info.json"]

    def folder(self, address: str) -> Path:
        """The folder of an upload."""
        return self.settings.data_dir / "uploads" / address.rpartition("/")[2]

    def change(self, address: str, **fields: Any) -> None:
        """Alter what is known of an upload, behind the gateway's back."""
        path = self.folder(address) / "info.json"
        write_json(path, Upload.model_validate_json(path.read_bytes()).model_copy(update=fields))

    def age(self, address: str, seconds: float) -> None:
        """Let an upload have expired so long ago."""
        self.change(address, expires_at=datetime.now(UTC) - timedelta(seconds=seconds))

    def begin_patch(self, address: str, offset: int, claimed: int, body: bytes, **headers: str) -> socket.socket:
        """Send the head of a PATCH that claims so many bytes, and these of them; return the open connection."""
        sent = {"Host": "localhost", "Upload-Offset": str(offset), "Content-Length": str(claimed)}
        lines = CHUNK | sent | named(headers)
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        base = self.http.base_url
        connection = socket.create_connection((base.host, base.port or 80), timeout=60)
        connection.sendall(f"PATCH {address} HTTP/1.1\r\n{head}\r\n".encode() + body)
        return connection

    def wait_for_bytes(self, address: str, offset: int) -> None:
        """Wait until the gateway has written something past `offset`, acknowledged or not."""
        deadline = time.monotonic() + WAIT_S
        while (self.folder(address) / "data").stat().st_size <= offset and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (self.folder(address) / "data").stat().st_size > offset

    def wait_for_checkpoint(self, address: str, offset: int) -> None:
        """Wait until the gateway has acknowledged so much to itself, within a chunk; it does so in the background."""
        info, deadline = self.folder(address) / "info.json", time.monotonic() + WAIT_S
        while Upload.model_validate_json(info.read_bytes()).offset < offset and time.monotonic() < deadline:
            time.sleep(0.01)
        assert Upload.model_validate_json(info.read_bytes()).offset >= offset


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def checksum(content: bytes, algorithm: str = "sha256") -> str:
    """Upload-Checksum of these bytes."""
    return f"{algorithm} {base64.b64encode(hashlib.new(algorithm, content).digest()).decode()}"


def metadata(**pairs: str) -> str:
    """Upload-Metadata of these pairs."""
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs.items())


def error_of(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of an answer; every one says the protocol's version."""
    assert answer.headers["tus-resumable"] == "1.0.0"
    return answer.status_code, answer.json()["error"]["code"]


@contextmanager
def gateway_process(settings: Settings, listener: socket.socket) -> Iterator[subprocess.Popen[bytes]]:
    """Run the gateway as a process of its own on a socket that outlives it."""
    command = module_command("server.process.gateway", "--fd", str(listener.fileno()))
    process = subprocess.Popen(command, env=module_environment(settings), pass_fds=(listener.fileno(),))
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def tus_slide(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A tiled TIFF of 3 MB, more than a block, whose every byte matters to its digest."""
    path = tmp_path_factory.mktemp("slide") / "slide.tif"
    pixels = np.random.default_rng(11).integers(0, 255, (1000, 900, 3), dtype=np.uint8)
    tifffile.imwrite(path, pixels, tile=(256, 256), photometric="rgb")
    return path.read_bytes()


@pytest.fixture(scope="module")
def tus_settings(tmp_path_factory: pytest.TempPathFactory, gateway_queue: str) -> Settings:
    """Settings of `tus`: a lease that nothing in a test is silent enough to lose."""
    return Settings(
        data_dir=tmp_path_factory.mktemp("tus"), redis_url=gateway_queue, disk_reserve_bytes=0, upload_lease_s=600
    )


@pytest.fixture(scope="module")
def tus(tus_settings: Settings) -> Iterator[Tus]:
    """A client of a gateway that the tests of a module share."""
    with running_gateway(tus_settings) as url:
        client = Tus(url, tus_settings)
        with client.http:
            yield client
