"""What of the files of an OME-Zarr is allowed and yet wrong: chunks beyond a shape, one at several places, none at all.

The metadata of a Zarr name no chunk: what is not stored is fill, and what nobody asks for is never seen. So the names
of the files are held against what is said of them.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from types import MappingProxyType

import numpy as np

from workers.core.errors.base import SlideUnreadable
from workers.core.slide_schemas import SlideGeometry, TrustWarning
from workers.core.slides.readers.zarr.array import Index, ZarrArray
from workers.core.slides.readers.zarr.entries import Entries
from workers.core.slides.readers.zarr.metadata import array_of
from workers.core.slides.slide import PARSER_ERRORS, Pixels
from workers.core.slides.tiff.doubts import BLANK_RANGE, REPEATS_LOOKED_AT

ARRAY_METADATA = ("zarr.json", ".zarray")
Places = dict[tuple[int, int], list[Index]]
"""Where files of the same bytes stand."""


def unlisted_doubts(entries: Entries, arrays: tuple[ZarrArray, ...], listed: frozenset[str]) -> Iterator[TrustWarning]:
    """Yield a warning if beside the levels there lies an array that is as large, and that no image speaks of.

    Args:
        entries: The files.
        arrays: The levels that are read, the finest first.
        listed: Paths of all arrays that images speak of.
    """
    folder = arrays[0].said.path.rpartition("/")[0]
    size = arrays[0].said.shape
    for key in entries.all_keys():
        path, _, name = key.rpartition("/")
        if name not in ARRAY_METADATA or path.rpartition("/")[0] != folder or path in listed or not path:
            continue
        try:
            said = array_of(entries, path)
        except SlideUnreadable:  # a group, or nothing that makes sense
            continue
        if said and len(said.shape) == len(size) and all(own >= l0 for own, l0 in zip(said.shape, size, strict=True)):
            yield TrustWarning(
                code="directories_unread",
                message="The file holds an array as large as the one that is read, of which its metadata do not speak.",
                value=path[:200],
            )


def chunk_doubts(
    entries: Entries, array: ZarrArray, axes: str, level: int, geometry: SlideGeometry
) -> Iterator[TrustWarning]:
    """Yield what cannot be trusted of the chunks of one array.

    Args:
        entries: Where they lie.
        array: The array.
        axes: Letters of its axes.
        level: Number of the level that it is.
        geometry: Of the slide.
    """
    stored = array.said.stored
    grid = tuple(-(-length // side) for length, side in zip(array.said.shape, stored, strict=True))
    inside: list[Index] = []
    outside = 0
    places: Places = defaultdict(list)
    for key, index in _chunks(entries, array):
        if any(at >= count for at, count in zip(index, grid, strict=True)):
            outside += 1
            continue
        inside.append(index)
        if (mark := entries.mark(key)) is not None:
            places[mark].append(index)
    if not inside:
        yield TrustWarning(
            code="tiles_missing",
            message="Not one chunk of an array of this OME-Zarr is stored: all of it is fill.",
            value=f"level {level}: {array.said.path}"[:200],
        )
    elif outside or _holds_more(array, inside[len(inside) // 2], axes):
        yield TrustWarning(
            code="tiles_left_over",
            message="The chunks of an array of this OME-Zarr hold more than its shape asks for.",
            value=f"level {level}: {f'{outside} chunks' if outside else 'planes within its chunks'} beyond its shape",
        )
    for warning, found in _repeats(array, axes, level, places):
        yield warning.at(geometry.l0_box(level, *_shown_at(array, axes, index)) for index in found)


def _chunks(entries: Entries, array: ZarrArray) -> Iterator[tuple[str, Index]]:
    """Give the files of an array that are chunks or shards, each with its place."""
    said = array.said
    for key in entries.all_keys():
        if not key.startswith(said.prefix):
            continue
        parts = key.removeprefix(said.prefix).split(said.separator)
        if len(parts) == len(said.shape) and all(part.isdecimal() and len(part) < 13 for part in parts):
            yield key, tuple(map(int, parts))


def _repeats(array: ZarrArray, axes: str, level: int, places: Places) -> Iterator[tuple[TrustWarning, Iterator[Index]]]:
    """Yield a warning of chunks that stand at several places, and these."""
    repeated = [found for found in places.values() if len(found) > 1]
    seen = [found for found in islice(repeated, REPEATS_LOOKED_AT) if not _is_blank(array, found[0], axes)]
    if seen:
        warning = TrustWarning(
            code="tiles_repeated",
            message="One stored tile stands at several places of the slide, and it is no glass.",
            value=f"level {level}: {len(repeated)} of {len(places)} chunks, one of them {max(map(len, seen))} times",
        )
        yield warning, chain.from_iterable(seen)


def _shown_at(array: ZarrArray, axes: str, index: Index) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return (left, top) and (width, height) of a chunk, px of its level."""
    width, height = (array.said.stored[axes.index(axis)] for axis in "xy")
    return (index[axes.index("x")] * width, index[axes.index("y")] * height), (width, height)


def _is_blank(array: ZarrArray, index: Index, axes: str) -> bool:
    """Whether a chunk is all of one colour, as glass is."""
    chunk = _first_of(array, index)
    return chunk is None or _unevenness(chunk, axes) <= BLANK_RANGE


def _holds_more(array: ZarrArray, index: Index, axes: str) -> bool:
    """Whether there is something to see in channels, planes or moments that a chunk has beyond the shape."""
    said = array.said
    for place, (axis, length, stored) in enumerate(zip(axes, said.shape, said.stored, strict=True)):
        if axis not in "tcz" or stored <= length:
            continue
        side = array.chunk[place]
        chunk = _first_of(array, index, {place: length // side})
        if chunk is not None and _unevenness(np.moveaxis(chunk, place, 0)[length % side :]) > BLANK_RANGE:
            return True
    return False


def _unevenness(samples: Pixels, axes: str = "") -> int:
    """Return the range of samples; with axes the largest of all planes."""
    planes = tuple(axes.index(axis) for axis in "yx") if axes else None
    return int(np.max(np.ptp(samples, axis=planes)))


def _first_of(array: ZarrArray, index: Index, others: Mapping[int, int] = MappingProxyType({})) -> Pixels | None:
    """Return a chunk, of a shard the first one, or another along some axes; None also if it cannot be read."""
    sides = zip(index, array.said.stored, array.chunk, strict=True)
    first = [at * stored // side for at, stored, side in sides]
    try:
        return array.read(tuple(others.get(place, at) for place, at in enumerate(first)))
    except PARSER_ERRORS:  # said by whoever reads that place
        return None
