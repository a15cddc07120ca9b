"""The slide of `benchmarks.giant`: as large as one likes, each stored tile written out, every nucleus on it counted.

Some distinct tiles of tissue and of glass, drawn at random for each place: the texture is that of a real section, where
one is at hand, made a little paler, with a few dark discs of known number on each. Every tile has bytes of its own in
the file, as a scanner writes it, so what is read from the disk and decoded is that of a slide of this size.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import tifffile
from imagecodecs import jpeg8_decode, jpeg8_encode
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from benchmarks.reader_rates import COLOURS, finest, stored_bytes

Pixels = NDArray[np.uint8]
Kinds = NDArray[np.intp]

TILE_PX: Final = 256
MPP: Final = 0.5
DOWNSAMPLES: Final = (1, 4, 16, 64)
QUALITY: Final = 80
TISSUES, GLASSES = 96, 8
"""Distinct tiles of each."""

NUCLEI: Final = 3
"""Discs on each tile of tissue; none touches another, nor the tile's edge."""
CELL_PX: Final = 64
RADII_PX: Final = (6, 10)
REACH: Final = 0.44
"""Radius of a section, of the width of its third of the slide and of the slide's height: six tenths are tissue."""
PALEST: Final = 110
"""No px of the texture is darker than this, in any channel."""
NUCLEUS, GLASS = (70, 35, 110), (242, 241, 243)
DARK: Final = 72
"""Green of a px that is darker than all tissue and paler than all nuclei, whatever JPEG makes of them."""


class Made(NamedTuple):
    """What a slide was made of.

    Attributes:
        tiles: Stored, of the finest level.
        tissue: How many of them are tissue.
        distinct: How many of the distinct tiles stand somewhere.
        nuclei: Discs on all of them.
    """

    tiles: int
    tissue: int
    distinct: int
    nuclei: int


def textures(section: Path | None, rng: np.random.Generator) -> Pixels:
    """Return tiles of tissue without nuclei, uint8 (TISSUES, TILE_PX, TILE_PX, 3).

    Args:
        section: A slide of JPEG tiles of `TILE_PX`, of which those with the most bytes are taken; made ones if None.
        rng: Draws what is made.
    """
    level = finest(section) if section is not None else None
    if section is None or level is None or level.tile != (TILE_PX, TILE_PX):
        return np.stack([_made(rng) for _ in range(TISSUES)])
    places = [(col, row) for row in range(level.height // TILE_PX) for col in range(level.width // TILE_PX)]
    stored = sorted(stored_bytes(section, level, places), key=len, reverse=True)[:TISSUES]
    tables, colours = level.tables or None, COLOURS[level.photometric]
    found = [jpeg8_decode(each, tables=tables, colorspace=colours, outcolorspace="RGB") for each in stored]
    return np.maximum(np.resize(np.stack(found), (TISSUES, TILE_PX, TILE_PX, 3)), np.uint8(PALEST))


def _made(rng: np.random.Generator) -> Pixels:
    """Return pink texture: noise of several sizes."""
    noise = sum(
        size * ndimage.gaussian_filter(rng.normal(size=(TILE_PX, TILE_PX)), size, mode="wrap") for size in (1, 3, 9)
    )
    pale = np.clip(0.5 + 0.2 * np.asarray(noise), 0, 1)[..., np.newaxis]
    made: Pixels = (np.array([205, 130, 180]) + pale * np.array([35, 70, 40])).astype(np.uint8)
    return made


def distinct_tiles(section: Path | None, rng: np.random.Generator) -> Pixels:
    """Return all distinct tiles, uint8 (TISSUES + GLASSES, TILE_PX, TILE_PX, 3), those of tissue first."""
    tissue = textures(section, rng)
    y, x = np.mgrid[:TILE_PX, :TILE_PX]
    cells = (TILE_PX // CELL_PX) ** 2
    for tile in tissue:
        for cell in rng.choice(cells, NUCLEI, replace=False).tolist():
            row, col = divmod(cell, TILE_PX // CELL_PX)
            middle = np.array([row, col]) * CELL_PX + CELL_PX / 2 + rng.integers(-12, 13, 2)
            tile[np.hypot(y - middle[0], x - middle[1]) < rng.uniform(*RADII_PX)] = NUCLEUS
    glass = np.array(GLASS) + rng.integers(-1, 2, (GLASSES, TILE_PX, TILE_PX, 1))
    return np.concatenate([tissue, glass.astype(np.uint8)])


def lie(rows: int, columns: int, rng: np.random.Generator) -> Kinds:
    """Return which of the distinct tiles stands where, (rows, columns): three sections side by side, glass around."""
    y, x = (np.arange(rows) + 0.5)[:, np.newaxis] / rows, (np.arange(columns) + 0.5) / columns
    is_tissue = np.hypot(3 * x % 1 - 0.5, y - 0.5) < REACH
    return np.where(
        is_tissue, rng.integers(0, TISSUES, is_tissue.shape), TISSUES + rng.integers(0, GLASSES, is_tissue.shape)
    )


def write_slide(path: Path, width: int, height: int, section: Path | None = None, seed: int = 0) -> Made:
    """Write a pyramidal BigTIFF of JPEG tiles.

    Args:
        path: Where to.
        width: Level-0 px.
        height: Level-0 px.
        section: A real slide to take texture from, see `textures`.
        seed: Of all that is drawn.
    """
    rng = np.random.default_rng(seed)
    tiles = distinct_tiles(section, rng)
    kinds = lie(-(-height // TILE_PX), -(-width // TILE_PX), rng)
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for downsample in DOWNSAMPLES:
            shape = height // downsample, width // downsample, 3
            if min(shape[:2]) == 0:
                break
            tiff.write(
                _stored(tiles, kinds, downsample, shape), shape=shape, dtype=np.uint8, tile=(TILE_PX, TILE_PX),
                photometric="ycbcr", compression="jpeg", subsampling=(2, 2), subfiletype=int(downsample > 1),
                resolution=(10_000 / (MPP * downsample),) * 2, resolutionunit="centimeter", metadata=None,
            )  # fmt: skip
    tissue = int((kinds < TISSUES).sum())
    return Made(kinds.size, tissue, len(np.unique(kinds)), NUCLEI * tissue)


def _stored(tiles: Pixels, kinds: Kinds, downsample: int, shape: tuple[int, ...]) -> Iterator[bytes]:
    """Yield the tiles of a level as JPEGs, row by row."""
    if downsample == 1:
        packed = [_packed(tile) for tile in tiles]
        yield from (packed[kind] for kind in kinds.ravel().tolist())
        return
    side = TILE_PX // downsample
    small = np.stack([np.asarray(Image.fromarray(tile).resize((side, side), Image.Resampling.BOX)) for tile in tiles])
    rows, columns = (-(-length // TILE_PX) for length in shape[:2])
    lacking = rows * downsample - kinds.shape[0], columns * downsample - kinds.shape[1]
    kinds = np.pad(kinds, ((0, max(0, lacking[0])), (0, max(0, lacking[1]))), mode="edge")
    for row in range(0, rows * downsample, downsample):
        for col in range(0, columns * downsample, downsample):
            cells = small[kinds[row : row + downsample, col : col + downsample]]
            yield _packed(np.ascontiguousarray(cells.swapaxes(1, 2)).reshape(TILE_PX, TILE_PX, 3))


def _packed(tile: Pixels) -> bytes:
    return bytes(jpeg8_encode(tile, level=QUALITY, colorspace="RGB", outcolorspace="YCBCR", subsampling="420"))
