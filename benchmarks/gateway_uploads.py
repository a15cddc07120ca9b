"""Uploads to a real gateway: how fast, in how much memory, and whether 5 GiB arrive whole through three crashes."""

import http.client
import json
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from email.message import Message
from pathlib import Path

import numpy as np
import tifffile

from benchmarks.gateway_process import PeakMemory, start_gateway
from server.uploads import tus
from workers.core.digests import sha256_of
from workers.core.settings import Settings

MIB = 2**20
WRITE_BYTES = 4 * MIB
CHUNK_BYTES = 64 * MIB
POLL_S = 0.01
METADATA = "filename c2xpZGUudGlm"
"""`slide.tif` in base64."""

JSON = dict[str, object]


def make_slide(path: Path, size: int, *, sparse: bool = False) -> None:
    """Write a small slide, and behind it bytes that no reader looks at, up to `size` in all.

    Args:
        path: The new file.
        size: Bytes.
        sparse: Let the rest be a hole, which takes no room; else random bytes.
    """
    pixels = np.random.default_rng(1).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    tifffile.imwrite(path, pixels, tile=(256, 256), photometric="rgb")
    with path.open("r+b") as file:
        left = size - file.seek(0, os.SEEK_END)
        if sparse:
            file.truncate(size)
            return
        block = os.urandom(WRITE_BYTES)
        while left > 0:
            left -= file.write(block[:left])


def copy_and_hash(source: Path, target: Path) -> float:
    """Return the seconds that `cp` and `sha256sum` take, one after the other."""
    started = time.perf_counter()
    subprocess.run(["/bin/cp", str(source), str(target)], check=True)
    subprocess.run(["/usr/bin/sha256sum", str(target)], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    target.unlink()
    return seconds


def bearer(key: str) -> dict[str, str]:
    """Return the header that shows a key, if there is one."""
    return {"Authorization": f"Bearer {key}"} if key else {}


class Uploader:
    """A client of one gateway; it sends files by `sendfile`, so that it takes no time of its own.

    Args:
        port: Of the gateway.
        key: That opens it, if it asks for one.
    """

    def __init__(self, port: int, key: str = "") -> None:
        self._port = port
        self._opens = bearer(key)

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None) -> tuple[Message, bytes]:
        """Send a request without a body; return headers and body of the answer."""
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)) as connection:
            connection.request(method, path, headers={**self._opens, **(headers or {})})
            return _answer(connection, f"{method} {path}")

    def json(self, path: str) -> JSON:
        """Return what lies at a path."""
        found: JSON = json.loads(self.ask("GET", path)[1])
        return found

    def create(self, size: int) -> str:
        """Return the path of a new resumable upload."""
        headers = {"Tus-Resumable": tus.VERSION, "Upload-Length": str(size), "Upload-Metadata": METADATA}
        return str(self.ask("POST", tus.PREFIX, headers)[0]["location"])

    def offset(self, upload: str) -> int:
        """Return how many bytes were acknowledged."""
        return int(str(self.ask("HEAD", upload, {"Tus-Resumable": tus.VERSION})[0]["upload-offset"]))

    def append(self, upload: str, file: Path, offset: int, length: int) -> None:
        """Send a chunk; it is on the disk when this returns."""
        headers = {"Tus-Resumable": tus.VERSION, "Upload-Offset": str(offset), "Content-Type": tus.CHUNK_TYPE}
        self._send("PATCH", upload, file, (offset, length), headers)

    def put(self, file: Path) -> JSON:
        """Send a file in one request; return the slide."""
        answer = self._send("PUT", "/v1/slides?filename=slide.tif", file, (0, file.stat().st_size), {})
        slide: JSON = json.loads(answer)
        return slide

    def finish(self, upload: str) -> JSON:
        """Wait for the end of the check; return the slide."""
        while (view := self.json(upload))["state"] == "checking":
            time.sleep(POLL_S)
        if view["state"] != "ready":
            raise RuntimeError(f"the upload is {view['state']}: {view['error']}")
        return self.json(f"/v1/slides/{view['slide_id']}")

    def tus(self, file: Path, chunk_bytes: int = CHUNK_BYTES) -> JSON:
        """Send a file by the resumable protocol; return the slide: on the disk, hashed and checked."""
        size = file.stat().st_size
        upload = self.create(size)
        for offset in range(0, size, chunk_bytes):
            self.append(upload, file, offset, min(chunk_bytes, size - offset))
        return self.finish(upload)

    def remove(self, slide: JSON) -> None:
        """Delete a slide."""
        self.ask("DELETE", f"/v1/slides/{slide['id']}")

    def _send(self, method: str, path: str, file: Path, part: tuple[int, int], headers: dict[str, str]) -> bytes:
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=600)) as connection:
            connection.putrequest(method, path)
            for name, value in ({"Content-Length": str(part[1])} | self._opens | headers).items():
                connection.putheader(name, value)
            connection.endheaders()
            with file.open("rb") as opened:
                connection.sock.sendfile(opened, *part)
            return _answer(connection, f"{method} {path}")[1]


def _answer(connection: http.client.HTTPConnection, asked: str) -> tuple[Message, bytes]:
    answer = connection.getresponse()
    body = answer.read()
    if answer.status >= 300:
        raise RuntimeError(f"{asked}: {answer.status} {body[:500]!r}")
    return answer.headers, body


def timed_upload(client: Uploader, file: Path, *, resumable: bool) -> float:
    """Return the seconds from the first byte to a slide that is on the disk, hashed and checked."""
    started = time.perf_counter()
    slide = client.tus(file) if resumable else client.put(file)
    seconds = time.perf_counter() - started
    client.remove(slide)
    return seconds


def peak_of_many(settings: Settings, file: Path, count: int) -> PeakMemory:
    """Return the memory of a fresh gateway that takes so many uploads of a file at once."""
    gateway = start_gateway(settings)
    client = Uploader(gateway.port)
    try:
        with PeakMemory(gateway.process.pid) as peak, ThreadPoolExecutor(count) as pool:
            slides = list(pool.map(client.tus, [file] * count))
        for slide in slides:
            client.remove(slide)
    finally:
        gateway.stop()
    return peak


def through_crashes(settings: Settings, file: Path, crashes: int) -> tuple[str, list[int]]:
    """Send a file in one chunk to a gateway that is killed so many times in the middle of it, and go on each time.

    Returns:
        SHA-256 that the slide has in the end, as the bytes on the disk have it, and the offsets gone on from.
    """
    size = file.stat().st_size
    gateway = start_gateway(settings)
    upload = Uploader(gateway.port).create(size)
    offsets = []
    for crash in range(crashes):
        offset = Uploader(gateway.port).offset(upload)
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(Uploader(gateway.port).append, upload, file, offset, size - offset)
            _wait_for_bytes(settings, upload, size * (crash + 1) // (crashes + 1))
            gateway.kill()
            with suppress(OSError, http.client.HTTPException):
                sending.result()
        gateway = start_gateway(settings)
        offsets.append(Uploader(gateway.port).offset(upload))
    client = Uploader(gateway.port)
    try:
        client.append(upload, file, offsets[-1], size - offsets[-1])
        slide = client.finish(upload)
        (stored,) = (settings.data_dir / "slides" / str(slide["id"])).glob("original*")
        on_disk = sha256_of(stored)
        if slide["sha256"] != on_disk:
            raise RuntimeError(f"the gateway says {slide['sha256']}, but {on_disk} is on the disk")
        client.remove(slide)
    finally:
        gateway.stop()
    return on_disk, offsets


def _wait_for_bytes(settings: Settings, upload: str, wanted: int) -> None:
    data = settings.data_dir / "uploads" / upload.rpartition("/")[2] / "data"
    while data.stat().st_size < wanted:
        time.sleep(POLL_S)
