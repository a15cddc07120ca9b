"""uvicorn's HTTP protocol behind a door: heads and bodies that do not end, or do not come, cost little.

The parser gathers a header until it ends, and a connection may say nothing for ever; uvicorn bounds neither. Here bytes
are counted before the parser sees them, and each stage of a connection has its time:

head  ─► whole within `head_s`, of at most so many bytes and lines
body  ─► never silent for `body_idle_s`; slow is not silent, and while nobody takes its bytes nobody waits for them
done  ─► the answer takes the time it takes: events, long downloads, slow readers
idle  ─► uvicorn's keep-alive time
"""

from asyncio import Transport
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, ClassVar

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from server.web.connections import Door
from server.web.errors import answer_of
from server.web.request_ids import HEADER, Asked, id_of, request_id, working_on
from server.web.root_path import path_of
from workers.core.errors.base import LDiffusionError
from workers.core.errors.door import HeadTooLong, RequestLate, RequestMalformed

LINGER_S = 1.0
LINGER_BYTES = 2**18
"""What is thrown away after a refusal, so that a client which is still sending sees it."""

PIPELINED_MAX = 16
"""Requests of one connection that may wait for the answer to one before."""

UPLOAD_GRACE_S = 5.0

IsStreamed = Callable[[str, str], bool]


class _Stage(Enum):
    IDLE = auto()
    HEAD = auto()
    BODY = auto()
    DONE = auto()


class GuardedHttp(HttpToolsProtocol):
    """One connection. `guarded` makes the class that a server is given."""

    door: ClassVar[Door]
    is_streamed: ClassVar[IsStreamed]
    own_root_path: ClassVar[str]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._stage = _Stage.HEAD
        self._deadline: float | None = None
        self._timer: Any = None
        self._head_bytes = 0
        self._dry_bytes = 0
        self._url_bytes = 0
        self._fault: LDiffusionError | None = None
        self._is_over = False
        self._discarded = 0

    # --- the connection -----------------------------------------------------------------------------------------------

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Let it in, or say why not."""
        super().connection_made(transport)
        error = self.door.enter(self, self._address)
        if error is not None:
            self._refuse(error)
            return
        self._arm(self.door.limits.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._is_over = True
        self.door.leave(self)
        self._deadline = None
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    @property
    def is_held(self) -> bool:
        """Whether it is we who do not take its bytes."""
        return bool(self.flow.read_paused)

    def make_room(self) -> None:
        """Close a connection that waits for a request, or in the middle of one."""
        self._is_over = True
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, of a head never more than a head may have."""
        if self._is_over:
            self._discard(len(data))
            return
        self._unset_keepalive_if_required()
        if self._stage is _Stage.IDLE:
            self._begin_head()
        while data and not self._is_over:
            in_head = self._stage is _Stage.HEAD
            room = self.door.limits.head_bytes - self._head_bytes + 1 if in_head else len(data)
            piece, data = data[:room], data[room:]
            if in_head:
                self._head_bytes += len(piece)
            self._feed(piece)
        if self._stage is _Stage.BODY and not self._is_over:
            self.door.read(self)
            self._arm(self._body_idle_s())

    def _feed(self, piece: bytes) -> None:
        was, self._dry_bytes = self._stage, self._dry_bytes + len(piece)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:  # nothing here speaks anything else, and it is answered as it is
            return
        except httptools.HttpParserError:
            self._refuse(self._fault or RequestMalformed("This is no HTTP request.", accepted="HTTP/1.1"))
            return
        most = self.door.limits.head_bytes
        if was is self._stage is _Stage.HEAD and self._head_bytes > most:
            self._refuse(_too_long(f"more than {self._head_bytes - 1} bytes", f"at most {most} bytes"))
        elif was is self._stage is _Stage.BODY and self._dry_bytes > most:  # extensions of a chunk, or trailers
            self._refuse(_too_long(f"{self._dry_bytes} bytes between or after chunks", f"at most {most} bytes"))

    # --- what the parser tells ----------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins: the first, one after a pause, or one right behind another."""
        super().on_message_begin()
        self._url_bytes = 0
        if self._stage is not _Stage.HEAD:
            self._begin_head()

    def on_url(self, url: bytes) -> None:
        """Take the target, or a piece of it."""
        self._url_bytes += len(url)
        self._check_line("the target", self._url_bytes)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header. Those behind a body are nobody's: the request was told without them."""
        if self._stage is not _Stage.HEAD:
            return
        self._check_line("a header", len(name) + len(value))
        if len(self.headers) >= self.door.limits.head_lines:
            most = self.door.limits.head_lines
            self._fail(_too_long(f"more than {most} headers", f"at most {most}"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole: the request goes on its way."""
        self.door.read(self)
        self._stage = _Stage.BODY
        self._dry_bytes = 0
        if len(self.pipeline) >= PIPELINED_MAX:
            self._fail(RequestMalformed("Too many requests behind one another.", accepted=f"{PIPELINED_MAX} at most"))
        super().on_headers_complete()
        self._arm(self._body_idle_s())

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._dry_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The body is whole, or there is none."""
        super().on_message_complete()
        self.door.work(self)
        self._stage, self._deadline = _Stage.DONE, None
        self._rest_if_answered()

    def on_response_complete(self) -> None:
        """The answer is whole."""
        super().on_response_complete()
        if self._stage is _Stage.DONE:
            self._rest_if_answered()

    # --- stages and their times ---------------------------------------------------------------------------------------

    def _begin_head(self) -> None:
        self._stage = _Stage.HEAD
        self._head_bytes = 0
        self._arm(self.door.limits.head_s)

    def _rest_if_answered(self) -> None:
        if self.cycle.response_complete and not self.pipeline:
            self._stage = _Stage.IDLE
            self.door.wait(self)
            self._arm(self.timeout_keep_alive)

    def _body_idle_s(self) -> float:
        limits = self.door.limits
        if type(self).is_streamed(self.scope["method"], path_of(dict(self.scope))):
            return limits.upload_idle_s + UPLOAD_GRACE_S
        return limits.body_idle_s

    def _arm(self, seconds: float) -> None:
        """Set the end of a stage; the timer runs on, and looks for itself whether there is more time by now."""
        self._deadline = self.loop.time() + seconds
        if self._timer is None:
            self._timer = self.loop.call_later(seconds, self._look, seconds)

    def _look(self, seconds: float) -> None:
        self._timer = None
        if self._deadline is None or self._is_over:
            return
        left = self._deadline - self.loop.time()
        if self.is_held:  # it may be there, and we do not take it
            self._arm(seconds)
        elif left > 0:
            self._timer = self.loop.call_later(left, self._look, seconds)
        elif self._stage is _Stage.BODY:
            self._refuse(RequestLate("No byte of the body came for too long.", accepted="a steady stream"))
        elif self._stage is _Stage.HEAD and self._head_bytes:
            accepted = f"a whole head within {self.door.limits.head_s:g} s"
            self._refuse(RequestLate("The head of the request did not end in time.", accepted=accepted))
        else:
            if self._stage is _Stage.HEAD:
                self.door.notices.tell("silent_connection", self._address)
            self.make_room()

    # --- refusals -----------------------------------------------------------------------------------------------------

    @property
    def _address(self) -> str:
        return self.client[0] if self.client else ""

    def _check_line(self, what: str, length: int) -> None:
        if length > self.door.limits.line_bytes:
            most = self.door.limits.line_bytes
            self._fail(_too_long(f"{what} of {length} bytes", f"at most {most} bytes in a line"))

    def _fail(self, error: LDiffusionError) -> None:
        """End the parsing, from within."""
        self._fault = error
        raise error

    def _refuse(self, error: LDiffusionError) -> None:
        """Say why, unless an answer is under way, listen for a moment, and close."""
        self._is_over = True
        self.door.notices.tell(error.code, self._address)
        cycle: RequestResponseCycle | None = self.cycle
        is_answering = cycle is not None and cycle.response_started and not cycle.response_complete
        if cycle is not None and not cycle.response_complete:  # whoever reads the body learns that no more comes
            cycle.disconnected = True
            cycle.message_event.set()
        self.loop.call_later(LINGER_S, self.transport.abort)
        if is_answering or self.pipeline:
            self.pipeline.clear()
            return
        given = (self.headers or ()) if self._stage in (_Stage.HEAD, _Stage.BODY) else ()
        with working_on(Asked(id_of(given), self.own_root_path)):
            self.transport.write(_bytes_of(error))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()

    def _discard(self, size: int) -> None:
        """Throw bytes away; who sends more of them than is polite waits for the end, and costs nothing until then."""
        self._discarded += size
        if self._discarded > LINGER_BYTES and not self.transport.is_closing():
            self.flow.pause_reading()


def guarded(door: Door, is_streamed: IsStreamed, root_path: str = "") -> type[GuardedHttp]:
    """Return the protocol class of a server with this door.

    Args:
        door: Counts its connections.
        is_streamed: Whether a request of this method and path is an upload.
        root_path: The prefix that links in its refusals begin with.
    """
    own = {"door": door, "is_streamed": staticmethod(is_streamed), "own_root_path": root_path}
    return type("GuardedHttp", (GuardedHttp,), own)


def _too_long(value: str, accepted: str) -> HeadTooLong:
    return HeadTooLong("The head of the request is too long.", value=value, accepted=accepted)


def _bytes_of(error: LDiffusionError) -> bytes:
    answer = answer_of(error, body_unread=False)
    headers = [*answer.raw_headers, (b"connection", b"close"), (b"x-content-type-options", b"nosniff")]
    headers += [(HEADER.encode(), name.encode())] if (name := request_id()) else []
    lines = [STATUS_LINE[answer.status_code], *(name + b": " + value + b"\r\n" for name, value in headers), b"\r\n"]
    return b"".join([*lines, bytes(answer.body)])
