"""How a client speaks with the server, free of sockets: generators that say what to do and are told what came of it.

    steps ──► Ask, Open, Read, Pause, Work ──► a driver: `Client` blocks, `AsyncClient` awaits ──► the answer ──► steps

So there is one text of the protocol for both. A driver throws `Unreachable` into the steps where no answer came.
"""

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

from ldiffusion_client.errors import (
    Busy,
    NeverReached,
    Refused,
    RemoteError,
    ServerFailed,
    TookTooLong,
    Unreachable,
    error_of,
    failure,
)
from ldiffusion_client.views import Page, View

PIECE_BYTES = 2**20
PATIENCE_S = 60.0
"""How long a server that does not answer is asked again, unless the client says otherwise."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 5.0
LASTING = frozenset({"product_failed", "job_lost", "too_many_listeners", "quota_exceeded", "uploads_exceeded"})
"""Codes of answers that are the same when one asks again at once."""

PAGE_SIZE = 100
GATEWAYS = (HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT)
"""What a proxy says while the server behind it is away."""

Seen = Callable[[str, int, int], None]
"""Told of progress: what is being done, how many bytes of it, of how many."""


@dataclass(frozen=True, slots=True)
class Body:
    """A part of a file as the body of a request; the driver tells `report` how many bytes of it have been taken."""

    path: Path
    offset: int
    length: int
    report: Callable[[int], None]

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bytes in pieces.

        Raises:
            Refused: The file has become shorter.
        """
        done = 0
        with self.path.open("rb") as file:
            file.seek(self.offset)
            while done < self.length:
                piece = file.read(min(PIECE_BYTES, self.length - done))
                if not piece:
                    raise failure(Refused, "invalid_request", "The file became shorter while it was sent.", self.path)
                yield piece
                done += len(piece)


@dataclass(frozen=True, slots=True)
class Ask:
    """Send a request; the answer is an `Answer` with all of its body."""

    method: str
    address: str
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    body: Body | None = None


@dataclass(frozen=True, slots=True)
class Open:
    """Send a GET; the answer is an `Answer` without its body if it succeeded: that is fetched by `Read`."""

    address: str
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    piece_bytes: int | None = PIECE_BYTES
    """Size of the pieces; None: as they come."""

    silence_s: float | None = None
    """Seconds without a byte after which the line counts as broken; None: as long as the driver waits otherwise."""


@dataclass(frozen=True, slots=True)
class Read:
    """Fetch the next piece of what was opened last; the answer is bytes, none at the end."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for some seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Work:
    """Call what reads or writes files; the answer is what it returns."""

    call: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. The names of `headers` are looked up without regard to case."""

    status: int
    headers: Mapping[str, str]
    content: bytes = b""


T = TypeVar("T")
M = TypeVar("M", bound=View)
Step = Ask | Open | Read | Pause | Work
Steps = Generator[Step, Any, T]


class RetryPolicy:
    """Waits longer and longer between two tries, and ends with the error when that took too long in all.

    Args:
        limit_s: Seconds of waiting in all, since the last success.
    """

    def __init__(self, limit_s: float = PATIENCE_S) -> None:
        self._limit_s = limit_s
        self.renew()

    def renew(self) -> None:
        """Begin anew: a try has succeeded."""
        self._spent_s = 0.0
        self._next_s = FIRST_PAUSE_S

    def hold(self, error: RemoteError) -> Steps[None]:
        """Wait a little after an error that may pass.

        Raises:
            RemoteError: `error`, when the patience is at its end.
        """
        pause_s = error.retry_after_s or self._next_s
        if self._spent_s + pause_s > self._limit_s:
            raise error
        self._spent_s += pause_s
        self._next_s = min(2 * self._next_s, LONGEST_PAUSE_S)
        yield Pause(pause_s)


class Deadline:
    """The end of somebody's patience with what is waited for.

    Args:
        what: What is waited for.
        timeout_s: Seconds from now; None: it is waited for ever.
    """

    def __init__(self, what: str, timeout_s: float | None) -> None:
        self._what = what
        self._end = None if timeout_s is None else time.monotonic() + timeout_s

    def left(self, most_s: float) -> float:
        """Return the seconds that are left, `most_s` at most."""
        return most_s if self._end is None else min(most_s, max(0.0, self._end - time.monotonic()))

    def check(self) -> None:
        """Go on while there is time.

        Raises:
            TookTooLong.
        """
        if self._end is not None and time.monotonic() >= self._end:
            raise failure(TookTooLong, "took_too_long", "It did not come in the time that was given.", self._what)


def checked(answer: Answer) -> Answer:
    """Return an answer that is no error.

    Raises:
        RemoteError: It is one.
    """
    if answer.status >= HTTPStatus.BAD_REQUEST:
        raise error_of(answer.status, answer.headers, answer.content)
    return answer


def once(step: Ask | Open) -> Steps[Answer]:
    """Send a request one time.

    Raises:
        RemoteError.
    """
    answer: Answer = yield step
    return checked(answer)


def retrying(step: Ask | Open, patience_s: float = PATIENCE_S) -> Steps[Answer]:
    """Send a request that may be sent more than once, again while nobody answers or the server is busy.

    Raises:
        RemoteError.
    """
    patience = RetryPolicy(patience_s)
    while True:
        try:
            return (yield from once(step))
        except (Unreachable, Busy, ServerFailed) as error:
            if not may_pass(error):
                raise
            yield from patience.hold(error)


def may_pass(error: RemoteError) -> bool:
    """Whether the same request may work in a moment."""
    if isinstance(error, Unreachable):
        return not isinstance(error, NeverReached)
    asked_back = error.retry_after_s is not None and error.code not in LASTING
    return error.status in GATEWAYS or asked_back


def look(address: str, kind: type[M], patience_s: float = PATIENCE_S, **params: Any) -> Steps[M]:
    """Fetch what lies at an address.

    Raises:
        RemoteError.
    """
    return parsed(kind, (yield from retrying(Ask("GET", address, params), patience_s)))


def parsed(kind: type[M], answer: Answer) -> M:
    """Return the body of an answer."""
    return kind.model_validate_json(answer.content)


def listed(address: str, kind: type[Page[M]], limit: int | None, **params: Any) -> Steps[list[M]]:
    """Fetch a list, page by page, up to `limit` entries (None: all), the newest first.

    Raises:
        RemoteError.
    """
    found: list[M] = []
    wanted = {name: value for name, value in params.items() if value is not None}
    while limit is None or len(found) < limit:
        size = PAGE_SIZE if limit is None else min(PAGE_SIZE, limit - len(found))
        page = parsed(kind, (yield from retrying(Ask("GET", address, wanted | {"limit": size}))))
        found += page.items
        if page.next_cursor is None:
            break
        wanted["cursor"] = page.next_cursor
    return found
