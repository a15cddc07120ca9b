"""What a process and its confined children say to each other: JSON of known types, and bytes of an announced length.

Nothing of what a child says is believed before it is checked: it may be a stranger's by then.
"""

import socket
import struct
import time
from typing import TypeVar

from pydantic import BaseModel, ValidationError

HEAD_MAX_BYTES = 2**18

READY = b"ready"
"""What the process that makes children says once, when it can."""

ORDER_MAX_BYTES = 2**17

_LENGTH = struct.Struct("=I")

T = TypeVar("T", bound=BaseModel)


class ChildLost(Exception):
    """The child is gone, says nothing in time, or says what makes no sense."""


class ChildSilent(ChildLost):
    """It says nothing in time."""


def packed(head: BaseModel) -> bytes:
    """Return a head as it is sent."""
    said = head.model_dump_json().encode()
    return _LENGTH.pack(len(said)) + said


def send(line: socket.socket, head: BaseModel, body: bytes = b"") -> None:
    """Send a head, and what follows it."""
    line.sendall(packed(head))
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
            raise ChildSilent("no answer in time") from error
        except OSError as error:
            raise ChildLost("the line is broken") from error
        if count == 0:
            raise ChildLost("no answer")
        got += count
    return bytes(data)
