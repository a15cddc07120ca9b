"""What of a TIFF's directories is allowed and yet wrong: one stored tile at two places, more bytes than a tile has.

`tiff_structure` refuses what no reader could read; here is what every reader reads, and what is said of it.
"""

import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import imagecodecs
import numpy as np

from workers.core.slide_schemas import TrustWarning
from workers.core.slides.slide import Slide
from workers.core.slides.tiff.codestream import HEADER_BYTES, jpeg_is_ycbcr
from workers.core.slides.tiff.directories import Directory, Tiff, open_tiff
from workers.core.slides.tiff.structure import JPEG, grid_of
from workers.core.slides.tiff.values import Tag, reader_of

REPEATS_LOOKED_AT = 4
"""Of stored tiles that stand at several places, in each directory."""

BLANK_RANGE = 24
"""A tile whose samples are all within this is glass or fill, and may be stored once for all places."""

MAX_DECODED = 2**26
"""Bytes of a tile beyond which none is decoded to see how many there are."""

NONE, LZW, DEFLATES, PACK_BITS, ZSTDS = 1, 5, (8, 32946), 32773, (34926, 50000)
COLOURS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3}
"""Samples by the photometric interpretation."""

NOT_SHOWN = (5, 8, 9, 10)
"""CMYK and kinds of Lab: shown as if they were RGB."""

RGB, PALETTE, YCBCR = 2, 3, 6


def tiff_doubts(path: Path, slide: Slide) -> Iterator[TrustWarning]:
    """Yield what cannot be trusted of the directories of a TIFF; nothing if the file is none.

    Args:
        path: The file; its structure was checked before.
        slide: The same, open.

    Raises:
        SlideUnreadable: A directory makes no sense, or a tile cannot be decoded.
    """
    with path.open("rb") as file:
        tiff = open_tiff(reader_of(file.fileno()), path.stat().st_size)
        if tiff is None or tiff.is_ndpi:  # its strips have restart points, and levels of tiles that are no TIFF's
            return
        for number, directory in enumerate(tiff.directories()):
            yield from _of_colours(tiff, directory, number, slide)
            yield from _of_bytes(tiff, directory, number)
            yield from _of_places(tiff, directory, number)
            yield from _of_repeats(tiff, directory, number, slide)


def _of_colours(tiff: Tiff, directory: Directory, number: int, slide: Slide) -> Iterator[TrustWarning]:
    photometric = directory.number(tiff.read, Tag.PHOTOMETRIC, -1)
    samples = directory.number(tiff.read, Tag.SAMPLES, 1)
    extra = directory.tags[Tag.EXTRA_SAMPLES].count if Tag.EXTRA_SAMPLES in directory.tags else 0
    unexplained = samples - COLOURS.get(photometric, samples) - extra
    has_palette = Tag.COLOUR_MAP in directory.tags and photometric != PALETTE
    is_misread = slide.backend == "openslide" and _is_misread(tiff, directory, photometric)
    if unexplained not in (0, 1) or has_palette or is_misread:
        yield TrustWarning(
            code="colours_doubtful",
            message="A directory of this TIFF says one kind of colours and holds another.",
            value=f"directory {number}: photometric {photometric}, {samples} samples{', a palette' * has_palette}",
        )


def _is_misread(tiff: Tiff, directory: Directory, photometric: int) -> bool:
    """Whether OpenSlide, which believes the directory, shows other colours than the JPEG in it has, or has no idea."""
    grid = grid_of(tiff, directory)
    if photometric in NOT_SHOWN:
        return True
    if grid is None or directory.number(tiff.read, Tag.COMPRESSION) != JPEG or photometric not in (RGB, YCBCR):
        return False
    stored = np.flatnonzero(grid.sizes[: grid.wanted])
    if not stored.size:
        return False
    at, size = int(grid.offsets[stored[0]]), int(grid.sizes[stored[0]])
    return jpeg_is_ycbcr(tiff.read(at, min(size, HEADER_BYTES))) is (photometric == RGB)


def _of_bytes(tiff: Tiff, directory: Directory, number: int) -> Iterator[TrustWarning]:
    """Decode one tile or strip to see whether it has as many bytes as its directory says."""
    grid = grid_of(tiff, directory)
    if grid is None or directory.number(tiff.read, Tag.PHOTOMETRIC) == YCBCR:
        return
    samples = directory.number(tiff.read, Tag.SAMPLES, 1) if directory.number(tiff.read, Tag.PLANAR, 1) == 1 else 1
    bits = directory.number(tiff.read, Tag.BITS, 1)
    wanted = grid.piece[0] * grid.piece[1] * samples * bits // 8
    stored = np.flatnonzero(grid.sizes[: grid.wanted])
    if bits % 8 or not 0 < wanted <= MAX_DECODED or not stored.size:
        return
    place = int(stored[len(stored) // 2]) if grid.is_tiled else 0
    size = int(grid.sizes[place])
    found = _decoded_bytes(
        directory.number(tiff.read, Tag.COMPRESSION, 1), tiff, int(grid.offsets[place]), size, wanted
    )
    if found is not None and found != wanted:
        yield TrustWarning(
            code="tile_bytes",
            message="A stored tile or strip of this TIFF has another number of bytes than its directory asks for.",
            value=f"directory {number}: {'more than ' if found > wanted else ''}{min(found, wanted)} of {wanted} bytes",
        )


def _decoded_bytes(compression: int, tiff: Tiff, offset: int, size: int, most: int) -> int | None:
    """Return how many bytes a tile has when decoded, at most one more than `most`; None: its codec says its size."""
    if compression == NONE:
        return size
    if compression not in (LZW, PACK_BITS, *DEFLATES, *ZSTDS) or size > MAX_DECODED:
        return None
    data = tiff.read(offset, size)
    try:
        if compression in DEFLATES:
            return len(zlib.decompressobj().decompress(data, most + 1))
        decode = {LZW: imagecodecs.lzw_decode, PACK_BITS: imagecodecs.packbits_decode}
        return len(decode.get(compression, imagecodecs.zstd_decode)(data, out=most + 1))
    except (zlib.error, RuntimeError, ValueError):
        return 0


def _of_places(tiff: Tiff, directory: Directory, number: int) -> Iterator[TrustWarning]:
    grid = grid_of(tiff, directory)
    if grid is not None and min(len(grid.offsets), len(grid.sizes)) > grid.wanted:
        yield TrustWarning(
            code="tiles_left_over",
            message="A directory of this TIFF has more tiles than its size asks for.",
            value=f"directory {number}: {min(len(grid.offsets), len(grid.sizes))} tiles, {grid.wanted} in its size",
        )


def _of_repeats(tiff: Tiff, directory: Directory, number: int, slide: Slide) -> Iterator[TrustWarning]:
    """One stored tile at several places is no scan, but for glass."""
    grid = grid_of(tiff, directory)
    if grid is None or not grid.is_tiled:
        return
    stored = np.flatnonzero(grid.sizes[: grid.wanted])
    offsets, first, counts = np.unique(grid.offsets[stored], return_index=True, return_counts=True)
    repeated = np.flatnonzero(counts > 1)
    places = [(int(stored[first[index]]), int(counts[index])) for index in islice(repeated, REPEATS_LOOKED_AT)]
    level = next((i for i, each in enumerate(slide.geometry.levels) if grid.covers((each.width, each.height))), None)
    seen = [
        (index, count)
        for index, count in places
        if level is not None and not _is_blank(slide, level, grid.at(index), grid.piece)
    ]
    if seen and level is not None:
        copies = np.flatnonzero(np.isin(grid.offsets[: grid.wanted], grid.offsets[[index for index, _ in seen]]))
        yield TrustWarning(
            code="tiles_repeated",
            message="One stored tile stands at several places of the slide, and it is no glass.",
            value=f"directory {number}: {len(repeated)} of {len(offsets)} tiles, "
            f"one of them {max(count for _, count in seen)} times",
        ).at(slide.geometry.l0_box(level, grid.at(index), grid.piece) for index in copies.tolist())


def _is_blank(slide: Slide, level: int, place: tuple[int, int], piece: tuple[int, int]) -> bool:
    size = slide.geometry.levels[level]
    x, y = place
    pixels = slide.read_level(level, x, y, min(piece[0], size.width - x), min(piece[1], size.height - y))
    return int(np.ptp(pixels.reshape(-1, 3), axis=0).max(initial=0)) <= BLANK_RANGE
