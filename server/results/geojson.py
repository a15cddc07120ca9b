"""Cheap changes to a GeoJSON of regions on its way out: other frame, other kind of object. Streamed, no JSON is parsed.

The file is the one that the finish of a job writes: a head on the first line, then one feature a line, its geometry
before its properties. A geometry holds numbers and brackets only, so its points can be found as text; nothing else of
a feature is looked at, but for the kind of object at the beginning of its properties.
"""

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

Space = Literal["level0", "qupath"]
Objects = Literal["annotation", "detection"]

PIECE_BYTES = 2**18
POINT = re.compile(rb"\[(-?[0-9.]+),(-?[0-9.]+)\]")
GEOMETRY_ENDS = re.compile(rb'\},"properties":\{"objectType":"(?:annotation|detection)"')
UNIT = 10_000
"""Coordinates have four decimals at most."""
COMPRESSION = 5
GZIP_WBITS = 31


def changed(path: Path, space: Space, objects: Objects | None) -> Iterator[bytes]:
    """Yield a `regions.geojson.gz` as JSON text with what was asked for.

    Args:
        path: The file.
        space: `qupath` moves the origin to the corner of `openslide.bounds-*`, to which QuPath crops a slide.
        objects: Kind of every object; None leaves them as they are.
    """
    with gzip.open(path) as file:
        head = json.loads(file.readline().rstrip() + b"]}")
        offset = tuple(head["bounds_offset"]) if space == "qupath" else (0, 0)
        yield _head(head, space)
        at_start, held = True, b""
        while piece := file.readline(PIECE_BYTES):
            text = held + piece
            if at_start and not text.startswith(b'{"type":"Feature"'):  # the end of the collection
                yield text
                continue
            done, held, at_start = _step(text, offset, objects)
            yield done


def packed(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the same bytes as one gzip member, without a time in it."""
    packer = zlib.compressobj(COMPRESSION, zlib.DEFLATED, GZIP_WBITS)
    for piece in pieces:
        if out := packer.compress(piece):
            yield out
    yield packer.flush()


def _head(head: dict[str, object], space: Space) -> bytes:
    del head["features"]
    if space == "qupath":
        head |= {"coordinate_space": "qupath", "bounds_offset": [0, 0], "bounds_subtracted": head["bounds_offset"]}
    return json.dumps(head)[:-1].encode() + b',"features":[\n'


def _step(text: bytes, offset: tuple[int, int], objects: Objects | None) -> tuple[bytes, bytes, bool]:
    """Return (what can leave, what waits for more, whether the next piece begins a feature).

    A line may be longer than a piece: what waits is at most the last, half-read point or the words after a geometry.
    """
    found = GEOMETRY_ENDS.search(text)
    if found is None:
        cut = text.rfind(b"]") + 1
        return _moved(text[:cut], offset), text[cut:], False
    kind = found[0] if objects is None else b'},"properties":{"objectType":"%b"' % objects.encode()
    rest = text[found.end() :]
    if not rest.endswith(b"\n"):  # within the properties: the line goes on, and is short from here
        return b"", text, False
    return _moved(text[: found.start()], offset) + kind + rest, b"", True


def _moved(text: bytes, offset: tuple[int, int]) -> bytes:
    if offset == (0, 0):
        return text
    left, top = offset
    return POINT.sub(lambda point: b"[%b,%b]" % (_minus(point[1], left), _minus(point[2], top)), text)


def _minus(number: bytes, offset: int) -> bytes:
    """Subtract in decimals: what comes out is exact, and has no more places than what went in."""
    whole, dot, places = number.partition(b".")
    if not dot:
        return b"%d" % (int(whole) - offset)
    units = abs(int(whole)) * UNIT + int(places.ljust(4, b"0"))
    units = (-units if number.startswith(b"-") else units) - offset * UNIT
    whole_part, rest = divmod(abs(units), UNIT)
    sign = "-" if units < 0 else ""
    text = f"{sign}{whole_part}.{rest:04d}".rstrip("0").rstrip(".")
    return text.encode()
