"""Attacks on a gateway, each without end, from addresses of the loopback that nobody else uses.

`python -m benchmarks.attack_kinds NAME PORT` runs one until it is killed; the key of its tenant, who has uploaded a
slide that is slow to decode, comes in the environment. A new one is a function of the target and an entry of `ATTACKS`.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, cycle, repeat
from pathlib import Path

import click

from server.viewing.deepzoom import TILE_PX
from workers.core.command_line import CONTEXT

CROWD = 1_030
"""Connections that more than use up the usual 1,024 descriptors."""

CROWD_ADDRESSES = 32
REOPENED_PER_S = 200
"""Of a crowd, at most: how many connections a second a machine can take is another question."""

LINES = 4
SLOW_PX, SLOW_TILE_PX = 8192, 2048
"""Of the slide with slow tiles: 12 MiB of pixels each, which deflate packs to almost nothing."""

SLOW_TILES, SLOW_LEVEL = SLOW_PX // TILE_PX, 13
"""Tiles of its grid a side, and the level that has them; many of them are parts of one that is stored."""
NICENESS = 10
"""Attackers are elsewhere: what their own work takes from this machine is not the gateway's fault."""

PIECE = b"a" * 2**16
OPEN_HEAD = b"GET /v1/slides HTTP/1.1\r\nHost: localhost\r\n"
MANY = b"[" + b",".join([b"[]"] * 450_000) + b"]"
MEMBERS = b",".join(b'"k%d": 1' % number for number in range(200_000))


@dataclass(frozen=True)
class Target:
    """A gateway, and what the attacker has there.

    Attributes:
        port: Of the gateway.
        key: Of the attacker's tenant.
        slide_id: A slide of that tenant, each of whose tiles takes long to decode.
        bombs: Files that are refused once they were looked at.
    """

    port: int
    key: str
    slide_id: str
    bombs: tuple[Path, ...]

    def head(self, method: bytes, path: bytes) -> bytes:
        """Return the beginning of a request with a body of JSON."""
        opens = f"Authorization: Bearer {self.key}\r\n".encode()
        kind = b"Host: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
        return method + b" " + path + b" HTTP/1.1\r\n" + kind + opens


def connect(port: int, number: int) -> socket.socket:
    """Open a connection from the address of an attacker."""
    source = f"127.0.9.{1 + number % CROWD_ADDRESSES}"
    return socket.create_connection(("127.0.0.1", port), 30, source_address=(source, 0))


def lines(port: int, pieces: Callable[[], Iterable[bytes]]) -> None:
    """Send the same again and again on a few connections, each until it is closed or answered."""

    def attack(number: int) -> None:
        while True:
            with suppress(OSError), connect(port, number) as connection:
                for piece in pieces():
                    connection.sendall(piece)
                while connection.recv(65536):
                    pass

    threads = [threading.Thread(target=attack, args=(number,), daemon=True) for number in range(LINES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def crowd(port: int, begun: bytes) -> None:
    """Keep many connections open that have begun with something; one that is closed is opened again."""
    open_ones: list[socket.socket | None] = [None] * CROWD
    while True:
        for number, connection in enumerate(open_ones):
            if connection is not None and not _is_closed(connection):
                continue
            with suppress(OSError):
                if connection is not None:
                    connection.close()
                open_ones[number] = None
                opened = connect(port, number)
                opened.sendall(begun)
                opened.setblocking(False)
                open_ones[number] = opened
            time.sleep(1 / REOPENED_PER_S)
        time.sleep(0.05)


def _is_closed(connection: socket.socket) -> bool:
    try:
        return not connection.recv(65536)
    except BlockingIOError:
        return False
    except OSError:
        return True


def post(target: Target, path: bytes, body: bytes) -> None:
    """Send a JSON body, whole, on a few connections."""
    whole = target.head(b"POST", path) + b"Content-Length: %d\r\n\r\n" % len(body) + body
    lines(target.port, lambda: (whole,))


def bombs(target: Target) -> None:
    """Upload files whose tiles say that they are far larger than they are, all at once and again and again."""
    bodies = cycle([path.read_bytes() for path in target.bombs])

    def one() -> Iterable[bytes]:
        body = next(bodies)
        head = target.head(b"PUT", b"/v1/slides?filename=bomb.tif")
        return (head + b"Content-Length: %d\r\n\r\n" % len(body) + body,)

    lines(target.port, one)


def ask_tiles(target: Target, places: Iterable[tuple[int, int]]) -> None:
    """Ask for tiles at these places, again and again."""
    going_round = cycle(places)

    def one() -> Iterable[bytes]:
        x, y = next(going_round)
        path = f"/v1/slides/{target.slide_id}/slide_files/{SLOW_LEVEL}/{x}_{y}.jpeg"
        return (target.head(b"GET", path.encode()) + b"\r\n",)

    lines(target.port, one)


STEP = SLOW_TILE_PX // TILE_PX
SLOW_PLACES = tuple((x, y) for x in range(0, SLOW_TILES, STEP) for y in range(0, SLOW_TILES, STEP))
"""Each lies in another stored tile, so that each has to be decoded anew."""

QUICK_PLACES = tuple((x, y) for x in range(STEP) for y in range(STEP))
"""All lie in one stored tile, which a child remembers: it takes no time, and the gateway's is what is asked for."""

PIPELINED = OPEN_HEAD + b"\r\n"

ATTACKS: dict[str, Callable[[Target], None]] = {
    "endless header": lambda at: lines(at.port, lambda: chain([OPEN_HEAD + b"X: "], repeat(PIECE))),
    "endless headers": lambda at: lines(at.port, lambda: chain([OPEN_HEAD], repeat(b"X: 1\r\n" * 10_000))),
    "endless trailer": lambda at: lines(
        at.port,
        lambda: chain([at.head(b"POST", b"/v1/jobs") + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: "], repeat(PIECE)),
    ),
    "requests in a row": lambda at: lines(at.port, lambda: repeat(PIPELINED * 5_000, 100)),
    "silent sockets": lambda at: crowd(at.port, b""),
    "half heads": lambda at: crowd(at.port, OPEN_HEAD),
    "half bodies": lambda at: crowd(at.port, at.head(b"POST", b"/v1/jobs") + b"Content-Length: 1000\r\n\r\n{"),
    "empty lists in a region": lambda at: post(
        at, b"/v1/roi/check", b'{"roi": {"type": "Polygon", "coordinates": [%s]}}' % MANY
    ),
    "empty lists for slides": lambda at: post(at, b"/v1/batches", b'{"slide_ids": %s}' % MANY),
    "many members": lambda at: post(at, b"/v1/jobs", b"{%s}" % MEMBERS),
    "deep JSON": lambda at: post(at, b"/v1/jobs", b"[" * 2_000_000),
    "decoding bombs": bombs,
    "slow tiles": lambda at: ask_tiles(at, SLOW_PLACES),
    "quick tiles": lambda at: ask_tiles(at, QUICK_PLACES),
}
"""By name; each runs until its process is killed."""


@click.command(context_settings=CONTEXT, help=__doc__.splitlines()[0])
@click.argument("name", type=click.Choice(list(ATTACKS)))
@click.argument("port", type=int)
@click.option("--key", envvar="ATTACK_KEY", required=True)
@click.option("--slide", envvar="ATTACK_SLIDE", required=True, help="id of the slide with slow tiles")
@click.option("--bombs", envvar="ATTACK_BOMBS", type=click.Path(path_type=Path), required=True, help="folder of files")
def main(name: str, port: int, key: str, slide: str, bombs: Path) -> None:
    os.nice(NICENESS)
    ATTACKS[name](Target(port, key, slide, tuple(sorted(bombs.glob("*.tif")))))


if __name__ == "__main__":
    main()
