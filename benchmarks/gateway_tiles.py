"""Deep Zoom tiles a second: the gateway against OpenSlide's Python binding behind Flask, both cold."""

import random
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.gateway_process import Server, forget_pages, start, start_gateway
from server.viewing.deepzoom import Grid
from workers.core.settings import Settings

Address = tuple[int, int, int]


@dataclass(frozen=True)
class Load:
    """Which tiles are asked for, and how.

    Attributes:
        paths: Of all tiles, in the order they are asked for.
        clients: Connections at once.
    """

    paths: tuple[str, ...]
    clients: int


@dataclass(frozen=True)
class Answer:
    """What a run gave.

    Attributes:
        rate: Tiles a second.
        p50_ms: Half of the tiles came within this time.
        p99_ms: All but a hundredth.
        kib: Mean size of a tile.
    """

    rate: float
    p50_ms: float
    p99_ms: float
    kib: float


def addresses(grid: Grid, most: int, seed: int = 0) -> list[Address]:
    """Return addresses of tiles of all levels of a slide in a random order, the same each time."""
    found: list[Address] = []
    for level in range(grid.top + 1):
        width, height = grid.size(level)
        across, down = -(-width // grid.tile_px), -(-height // grid.tile_px)
        found += [(level, col, row) for row in range(down) for col in range(across)]
    random.Random(seed).shuffle(found)
    return found[:most]


def gateway_run(settings: Settings, slide_id: str, tiles: list[Address], clients: int) -> Answer:
    """Ask a gateway that was just started for tiles of a slide that it has."""
    (stored,) = (settings.data_dir / "slides" / slide_id).glob("original*")
    forget_pages(stored)
    base = f"/v1/slides/{slide_id}/slide_files"
    return _measured(start_gateway(settings), _load(base, tiles, clients))


def openslide_run(slide: Path, grid: Grid, tiles: list[Address], clients: int) -> Answer:
    """Ask the other server, just started too."""
    forget_pages(slide)
    command = [sys.executable, "-m", "benchmarks.openslide_server", str(slide), "--overlap", "0"]
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        more = ["--tile-px", str(grid.tile_px), "--fd", str(listener.fileno())]
        server = start([*command, *more], None, listener)
    return _measured(server, _load("/slide_files", tiles, clients))


def _load(base: str, tiles: list[Address], clients: int) -> Load:
    return Load(tuple(f"{base}/{level}/{col}_{row}.jpeg" for level, col, row in tiles), clients)


def _measured(server: Server, load: Load) -> Answer:
    try:
        return ask_all(server.port, load)
    finally:
        server.kill()


def ask_all(port: int, load: Load) -> Answer:
    """Ask for all tiles with so many connections at once."""
    waiting, lock = iter(load.paths), threading.Lock()
    times: list[float] = []
    sizes: list[int] = []
    failures: list[str] = []

    def work() -> None:
        client = TileClient(port)
        for path in _taken(waiting, lock):
            started = time.perf_counter()
            status, size = client.get(path)
            times.append(time.perf_counter() - started)
            sizes.append(size)
            if status != 200:
                failures.append(f"{status} {path}")
        client.close()

    threads = [threading.Thread(target=work) for _ in range(load.clients)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
    if failures or len(times) != len(load.paths):
        raise RuntimeError(f"{len(times)} of {len(load.paths)} answers; not well: {failures[:3]}")
    p50, p99 = np.percentile(times, (50, 99)) * 1000
    return Answer(len(times) / seconds, float(p50), float(p99), float(np.mean(sizes)) / 1024)


def _taken(waiting: Iterator[str], lock: threading.Lock) -> Iterator[str]:
    while True:
        with lock:
            path = next(waiting, None)
        if path is None:
            return
        yield path


class TileClient:
    """The cheapest client there is, for it shares the cores with the server: one connection, kept while that lasts."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection: socket.socket | None = None

    def get(self, path: str) -> tuple[int, int]:
        """Return status and size of the body."""
        if self._connection is None:
            self._connection = socket.create_connection(("127.0.0.1", self._port))
            self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        head, _, body = self._until_head().partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        size = int(next(line for line in lines if line.startswith(b"content-length:")).partition(b":")[2])
        left = size - len(body)
        while left > 0:
            left -= len(self._more())
        if lines[0].startswith(b"http/1.0") or b"connection: close" in lines:
            self.close()
        return int(lines[0].split()[1]), size

    def _until_head(self) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more()
        return data

    def _more(self) -> bytes:
        piece = self._connection.recv(2**18) if self._connection else b""
        if not piece:
            raise ConnectionError("the server hung up")
        return piece

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
