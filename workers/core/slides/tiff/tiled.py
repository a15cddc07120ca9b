"""Where the tiles of a tiled TIFF lie: its directories, read without its pixels.

Of the places of tiles only where the table of them lies is kept, so that the memory does not grow with the slide.
"""

from typing import NamedTuple

from workers.core.slides.tiff.directories import Directory, open_tiff
from workers.core.slides.tiff.values import Reader, Tag, Values, exactly, senseless

MAX_TABLES_BYTES = 64 * 1024
JPEG = 7

_NEEDED = {Tag.WIDTH, Tag.HEIGHT, Tag.TILE_WIDTH, Tag.TILE_HEIGHT, Tag.TILE_OFFSETS, Tag.TILE_SIZES}


class TiledLevel(NamedTuple):
    """A directory whose pixels are in tiles.

    Attributes:
        width: Px.
        height: Px.
        tile: (width, height) of a tile, px.
        bits: Of the first sample.
        samples: Per pixel.
        is_chunky: The samples of a pixel lie together.
        tables: JPEGTables as they are, empty without.
    """

    width: int
    height: int
    tile: tuple[int, int]
    compression: int
    photometric: int
    bits: int
    samples: int
    is_chunky: bool
    tables: bytes
    offsets: Values
    sizes: Values

    def read(self, read: Reader, col: int, row: int) -> bytes:
        """Return the stored bytes of a tile; none if the file has no such tile, which a TIFF may, or an absurd one.

        Raises:
            SlideUnreadable: The file ends before they do.
        """
        index = row * -(-self.width // self.tile[0]) + col
        size = self.sizes.one(read, index)
        most = self.tile[0] * self.tile[1] * self.samples * 2 + MAX_TABLES_BYTES
        return exactly(read, self.offsets.one(read, index), size) if 0 < size <= most else b""


def tiled_levels(read: Reader, size: int) -> list[TiledLevel]:
    """Return the tiled directories of a TIFF's main chain, in their order; none if it is no TIFF.

    Args:
        read: Gives the bytes of the file.
        size: How many it has.

    Raises:
        SlideUnreadable, SlideTooLarge: It makes no sense.
        OSError: It cannot be read.
    """
    tiff = open_tiff(read, size)
    if tiff is None:
        return []
    return [_level(read, directory) for directory in tiff.chain() if directory.tags.keys() >= _NEEDED]


def _level(read: Reader, directory: Directory) -> TiledLevel:
    tags = directory.tags
    tables = tags[Tag.JPEG_TABLES].raw(read) if _has_tables(directory) else b""
    tile = directory.number(read, Tag.TILE_WIDTH), directory.number(read, Tag.TILE_HEIGHT)
    if 0 in tile:
        raise senseless("tiles without a pixel")
    return TiledLevel(
        width=directory.number(read, Tag.WIDTH),
        height=directory.number(read, Tag.HEIGHT),
        tile=tile,
        compression=directory.number(read, Tag.COMPRESSION, 1),
        photometric=directory.number(read, Tag.PHOTOMETRIC),
        bits=directory.number(read, Tag.BITS, 1),
        samples=directory.number(read, Tag.SAMPLES, 1),
        is_chunky=directory.number(read, Tag.PLANAR, 1) == 1,
        tables=tables,
        offsets=tags[Tag.TILE_OFFSETS],
        sizes=tags[Tag.TILE_SIZES],
    )


def _has_tables(directory: Directory) -> bool:
    tables = directory.tags.get(Tag.JPEG_TABLES)
    if tables is None:
        return False
    if tables.length > MAX_TABLES_BYTES:
        raise senseless(f"{tables.length} bytes of JPEG tables", f"at most {MAX_TABLES_BYTES}")
    return True
