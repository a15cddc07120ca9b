"""`python -m server.viewing.tile_child`: has all that reads slides ready, and makes confined children of itself.

It opens no slide. For each request of the gateway on its standard input it makes a child for one slide, which takes
milliseconds, gives the child the other end of the line that came with the request, and the gateway a hold of the
process. The child locks itself in, with nothing left to read but the folder of that slide, and then decodes what is
asked for until the line is closed.
"""

import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from server.viewing.decoding import SlideDecoder
from server.viewing.tile_protocol import Binding, Head, Wanted
from workers.core.children import zygote
from workers.core.children.line import ChildLost, receive, send
from workers.core.children.told import body_of
from workers.core.errors.base import LDiffusionError, SlideUnreadable, TileFailed


def main() -> int:
    """Make children until the gateway is gone; return the exit status."""
    return zygote.make_children(_begin)


def _begin(order: bytes, line: socket.socket, _files: Sequence[int], has_no_network: bool) -> None:
    serve(Binding.model_validate_json(order), line, has_no_network=has_no_network)


def serve(binding: Binding, line: socket.socket, *, has_no_network: bool) -> None:
    """Lock this process in and decode what is asked for, until the gateway closes the line.

    Args:
        binding: The slide, and the limits.
        line: To the gateway.
        has_no_network: The network is gone already.
    """
    limits = binding.limits
    try:
        zygote.confine(limits, Path(binding.folder), has_no_network=has_no_network)
    except (LDiffusionError, OSError) as error:
        refusal = error if isinstance(error, LDiffusionError) else SlideUnreadable("The slide's folder is not there.")
        receive(line, Wanted)
        send(line, Head(error=body_of(refusal), is_last=True))
        return
    decoder = SlideDecoder(Path(binding.file), binding.info)
    while True:
        try:
            wanted = receive(line, Wanted)
        except ChildLost:
            return
        zygote.limit_cpu(binding.cpu_s, limits)
        head, body = _answer(decoder, wanted)
        if zygote.has_worked_long(limits):
            head = head.model_copy(update={"is_last": True})
        send(line, head, body)


def _answer(decoder: SlideDecoder, wanted: Wanted) -> tuple[Head, bytes]:
    try:
        if wanted.kind == "tile":
            tile = decoder.tile(wanted.address)
            return Head(size=len(tile)), tile
        pixels, lost = decoder.overview()
        height, width = pixels.shape[:2]
        return Head(size=pixels.nbytes, width=width, height=height, lost=lost), pixels.tobytes()
    except LDiffusionError as error:
        return Head(error=body_of(error)), b""
    except MemoryError:
        too_much = TileFailed("Decoding this part of the slide takes more memory than it may have.", value=wanted.name)
        return Head(error=body_of(too_much), is_last=True), b""


if __name__ == "__main__":
    sys.exit(main())
