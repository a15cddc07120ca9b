"""What a gateway and its tile children say to each other: JSON of known types, and bytes of an announced length.

Nothing of what a child says is believed before it is checked: it may be a stranger's by then.
"""

import socket
import struct
import time
from typing import Literal, TypeVar

from pydantic import BaseModel, ValidationError

from server.viewing.deepzoom import OVERVIEW_PX
from workers.core.confinement.lock import Limits
from workers.core.frozen import Frozen
from workers.core.schemas import ErrorBody
from workers.core.slide_schemas import SlideInfo

HEAD_MAX_BYTES = 2**18
BODY_MAX_BYTES = 2**23
"""More than an overview, or a tile of 1024 px as JPEG, can have."""

_LENGTH = struct.Struct("=I")

T = TypeVar("T", bound=BaseModel)


class Binding(Frozen):
    """The slide that a child is for, all its life.

    Attributes:
        folder: Of the slide; the only one that the child can read.
        file: Name of the slide's file in it.
        limits: What the child may use; the memory is that beyond what it has to begin with.
        cpu_s: CPU seconds for one request.
    """

    folder: str
    file: str
    info: SlideInfo
    limits: Limits
    cpu_s: int


class Wanted(Frozen):
    """A request: a tile as JPEG, or the overview as pixels."""

    kind: Literal["tile", "overview"]
    address: tuple[int, int, int] = (0, 0, 0)

    @property
    def name(self) -> str:
        """What is wanted, for the memory of what went wrong."""
        return "/".join(map(str, (self.kind, *self.address)))


class Head(Frozen):
    """What comes before the bytes of an answer.

    Attributes:
        size: Bytes that follow.
        width: Of an overview, px.
        height: Of an overview, px.
        lost: Blocks of an overview that cannot be decoded.
        error: Why nothing follows.
        is_last: The child may not be sound any more, or has worked long enough: it is to be ended.
    """

    size: int = 0
    width: int = 0
    height: int = 0
    lost: int = 0
    error: ErrorBody | None = None
    is_last: bool = False


class ChildLost(Exception):
    """The child is gone, says nothing in time, or says what makes no sense."""


def send(line: socket.socket, head: BaseModel, body: bytes = b"") -> None:
    """Send a head, and what follows it."""
    said = head.model_dump_json().encode()
    line.sendall(_LENGTH.pack(len(said)) + said)
    if body:
        line.sendall(body)


def receive(line: socket.socket, kind: type[T], deadline: float | None = None) -> T:
    """Receive a head.

    Args:
        line: To the other side.
        kind: What it must be.
        deadline: On the monotonic clock, or None: wait for ever.

    Raises:
        ChildLost.
    """
    (length,) = _LENGTH.unpack(receive_bytes(line, _LENGTH.size, deadline))
    if length > HEAD_MAX_BYTES:
        raise ChildLost(f"a head of {length} bytes")
    try:
        return kind.model_validate_json(receive_bytes(line, length, deadline))
    except ValidationError as error:
        raise ChildLost("a head that makes no sense") from error


def receive_body(line: socket.socket, head: Head, wanted: Wanted, deadline: float) -> bytes:
    """Receive what follows a head, of the size that fits what was wanted.

    Raises:
        ChildLost.
    """
    fits = 0 <= head.size <= BODY_MAX_BYTES
    if wanted.kind == "overview":
        sides = head.width, head.height
        fits = min(sides) > 0 and max(sides) <= OVERVIEW_PX and head.size == 3 * head.width * head.height
    if not fits:
        raise ChildLost(f"an answer of {head.size} bytes")
    return receive_bytes(line, head.size, deadline)


def receive_bytes(line: socket.socket, length: int, deadline: float | None = None) -> bytes:
    """Receive so many bytes.

    Raises:
        ChildLost.
    """
    data = bytearray(length)
    view, got = memoryview(data), 0
    while got < length:
        try:
            line.settimeout(None if deadline is None else max(deadline - time.monotonic(), 1e-3))
            count = line.recv_into(view[got:])
        except TimeoutError as error:
            raise ChildLost("no answer in time") from error
        except OSError as error:
            raise ChildLost("the line is broken") from error
        if count == 0:
            raise ChildLost("no answer")
        got += count
    return bytes(data)
