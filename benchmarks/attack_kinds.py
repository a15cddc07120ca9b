"""Attacks on a gateway, each without end, from addresses of the loopback that nobody else uses.

`python -m benchmarks.attack_kinds NAME PORT` runs one until it is killed. A new one is a function of the port and an
entry of `ATTACKS`.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import chain, repeat

import click

from workers.core.command_line import CONTEXT

CROWD = 1_030
"""Connections that more than use up the usual 1,024 descriptors."""

CROWD_ADDRESSES = 32
REOPENED_PER_S = 200
"""Of a crowd, at most: how many connections a second a machine can take is another question."""

LINES = 4
NICENESS = 10
"""Attackers are elsewhere: what their own work takes from this machine is not the gateway's fault."""

PIECE = b"a" * 2**16
OPEN_HEAD = b"GET /v1/slides HTTP/1.1\r\nHost: localhost\r\n"
JSON_HEAD = b"Host: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
CHUNKED = b"POST /v1/jobs HTTP/1.1\r\n" + JSON_HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
MANY = b"[" + b",".join([b"[]"] * 450_000) + b"]"
MEMBERS = b",".join(b'"k%d": 1' % number for number in range(200_000))


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


def json_post(path: bytes, body: bytes) -> Callable[[], Iterable[bytes]]:
    """Return a request with a JSON body, whole."""
    head = b"POST " + path + b" HTTP/1.1\r\n" + JSON_HEAD + b"Content-Length: %d\r\n\r\n" % len(body)
    return lambda: (head + body,)


HALF_BODY = b"POST /v1/jobs HTTP/1.1\r\n" + JSON_HEAD + b"Content-Length: 1000\r\n\r\n{"
PIPELINED = OPEN_HEAD + b"\r\n"

ATTACKS: dict[str, Callable[[int], None]] = {
    "endless header": lambda port: lines(port, lambda: chain([OPEN_HEAD + b"X: "], repeat(PIECE))),
    "endless headers": lambda port: lines(port, lambda: chain([OPEN_HEAD], repeat(b"X: 1\r\n" * 10_000))),
    "endless trailer": lambda port: lines(port, lambda: chain([CHUNKED + b"0\r\nX: "], repeat(PIECE))),
    "requests in a row": lambda port: lines(port, lambda: repeat(PIPELINED * 5_000, 100)),
    "silent sockets": lambda port: crowd(port, b""),
    "half heads": lambda port: crowd(port, OPEN_HEAD),
    "half bodies": lambda port: crowd(port, HALF_BODY),
    "empty lists in a region": lambda port: lines(
        port, json_post(b"/v1/roi/check", b'{"roi": {"type": "Polygon", "coordinates": [%s]}}' % MANY)
    ),
    "empty lists for slides": lambda port: lines(port, json_post(b"/v1/batches", b'{"slide_ids": %s}' % MANY)),
    "many members": lambda port: lines(port, json_post(b"/v1/jobs", b"{%s}" % MEMBERS)),
    "deep JSON": lambda port: lines(port, json_post(b"/v1/jobs", b"[" * 2_000_000)),
}
"""By name; each runs until its process is killed."""


@click.command(context_settings=CONTEXT, help=__doc__.splitlines()[0])
@click.argument("name", type=click.Choice(list(ATTACKS)))
@click.argument("port", type=int)
def main(name: str, port: int) -> None:
    os.nice(NICENESS)
    ATTACKS[name](port)


if __name__ == "__main__":
    main()
