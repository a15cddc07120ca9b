"""What a gateway and its tile children say to each other, on a line of `workers.core.children.line`."""

import socket
from typing import Literal

from server.viewing.deepzoom import OVERVIEW_PX
from workers.core.children.line import ChildLost, receive_bytes
from workers.core.confinement.lock import Limits
from workers.core.frozen import Frozen
from workers.core.schemas import ErrorBody
from workers.core.slide_schemas import SlideInfo

BODY_MAX_BYTES = 2**23
"""More than an overview, or a tile of 1024 px as JPEG, can have."""


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
