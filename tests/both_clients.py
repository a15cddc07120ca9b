"""The client that blocks and the one that awaits, behind one face; and a line between client and server that breaks."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from anyio.from_thread import start_blocking_portal

from server.async_client import AsyncClient
from server.client import Client

KINDS = ("blocks", "awaits")
FORWARDED_BYTES = 64 * 1024


class Awaited:
    """An `AsyncClient` whose methods are waited for, in an event loop of its own."""

    def __init__(self, client: AsyncClient, call: Callable[..., Any]) -> None:
        self._client = client
        self._call = call

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        return lambda *given, **named: self._call(partial(method, *given, **named))


@contextmanager
def client_of(kind: str, url: str, **options: Any) -> Iterator[Any]:
    """Yield a client of this kind."""
    if kind == "blocks":
        with Client(url, **options) as client:
            yield client
    else:
        with start_blocking_portal() as portal:
            awaited = Awaited(AsyncClient(url, **options), portal.call)
            yield awaited
            awaited.close()


class Line:
    """Forwards connections to a server; the first ones break after so many bytes from the client.

    Args:
        url: The server.
        breaks_after: Bytes that get through of each of the first connections that send as much.
        stalls: Such a line does not break: nothing more comes through.
    """

    def __init__(self, url: str, breaks_after: list[int], *, stalls: bool = False) -> None:
        self._target = (urlsplit(url).hostname, urlsplit(url).port)
        self._breaks_after = breaks_after
        self._stalls = stalls
        self.sent = 0
        self.stalled = threading.Event()
        self.ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @contextmanager
    def open(self) -> Iterator["Line"]:
        """Take connections while the context lasts."""
        self._threads[0].start()
        try:
            yield self
        finally:
            self.ended.set()
            for end in (self._listener, *self._ends):
                shut(end)
            for thread in self._threads:
                thread.join()
            for end in (self._listener, *self._ends):
                end.close()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener was shut
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
                self._ends += [near, far]
                for ends in ((near, far), (far, near)):
                    self._threads.append(threading.Thread(target=self._forward, args=(*ends, ends[0] is near)))
                    self._threads[-1].start()

    def _forward(self, source: socket.socket, sink: socket.socket, is_counted: bool) -> None:
        through = 0
        with suppress(OSError):
            while piece := source.recv(FORWARDED_BYTES):
                sink.sendall(piece)
                through += len(piece) if is_counted else 0
                self.sent += len(piece) if is_counted else 0
                if self._breaks_after and through > self._breaks_after[0]:
                    self._breaks_after.pop(0)
                    if self._stalls:
                        self.stalled.set()
                        self.ended.wait(60)
                    break
        for end in (source, sink):
            shut(end)
            end.close()


def shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
