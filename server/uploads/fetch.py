"""One GET of somebody else's file, by the rules of `server.web.egress`, read piece by piece."""

import http.client
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass, field

from anyio import CapacityLimiter, to_thread

from server.web.egress import CheckedConnection, Egress, request_target
from workers.core.errors.intake import ImportRefused

PIECE_BYTES = 2**20
ANSWER_S = 30.0
"""Longest time from the look-up of a name to the head of an answer, however slowly it drips."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file elsewhere.

    Attributes:
        url: Where; its query may hold a signature.
        egress: What may be reached.
        label: What is shown of the address: no query, which may hold a key.
    """

    url: str = field(repr=False)
    egress: Egress
    label: str


class Fetched:
    """An answer whose body is still to be read.

    Attributes:
        length: Bytes of the body.
    """

    def __init__(self, connection: CheckedConnection, response: http.client.HTTPResponse, length: int) -> None:
        self.length = length
        self._connection = connection
        self._response = response

    async def pieces(self, threads: CapacityLimiter) -> AsyncIterator[bytes]:
        """Give the body, read in one of these threads; it ends where it ends.

        Raises:
            ImportRefused: The line broke.
        """
        while piece := await to_thread.run_sync(self._read, abandon_on_cancel=True, limiter=threads):
            yield piece

    def _read(self) -> bytes:
        try:
            return self._response.read1(PIECE_BYTES)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ImportRefused("The line to the server of the file broke.", value=type(error).__name__) from error

    def close(self) -> None:
        """Hang up. Blocks until nobody reads any more."""
        self._connection.abort()
        self._response.close()
        self._connection.close()


def fetch(source: Source, idle_s: float) -> Fetched:
    """Ask for a file, and look at the head of the answer. Blocks for at most `ANSWER_S`.

    Args:
        source: What to ask for.
        idle_s: Longest silence while its bytes come.

    Raises:
        ImportRefused: The address is not allowed, nobody answers, or the answer is no file of a known size.
    """
    target = source.egress.parse_url(source.url)
    headers = {"Accept-Encoding": "identity", "User-Agent": "ldiffusion-server"}
    with ExitStack() as unless_taken:
        try:
            with source.egress.call(target, idle_s, ANSWER_S) as connection:
                unless_taken.callback(connection.close)
                connection.request("GET", request_target(target), headers=headers)
                response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise ImportRefused(
                "The server of this file does not answer, or not by https.",
                value=type(error).__name__,
                accepted="an address that answers",
            ) from error
        fetched = Fetched(connection, response, _length_of(response))
        unless_taken.pop_all()
        return fetched


def _length_of(response: http.client.HTTPResponse) -> int:
    if response.status != http.client.OK:  # redirects too: they could lead anywhere
        raise ImportRefused(
            "The server of this file answers with another status; redirects are not followed.",
            value=response.status,
            accepted="200",
        )
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise ImportRefused("The server of this file sends it encoded.", value=response.headers["Content-Encoding"])
    if response.length is None:
        raise ImportRefused("The server of this file does not say how long it is.", accepted="Content-Length")
    return response.length
