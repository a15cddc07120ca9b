"""Writes a small MIRAX slide of one level, by what openslide documents of the format: no picture of a scanner."""

import io
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

TILE = 256
VERSION, SLIDE_ID = "01.02", "0123456789abcdef0123456789abcdef"

TABLE = """[GENERAL]
SLIDE_VERSION = {version}
SLIDE_ID = {slide_id}
SLIDE_CREATIONDATETIME = 13/12/2011 11:08:57
IMAGENUMBER_X = {columns}
IMAGENUMBER_Y = {rows}
OBJECTIVE_MAGNIFICATION = 20
[HIERARCHICAL]
HIER_COUNT = 1
NONHIER_COUNT = 0
INDEXFILE = {index}
HIER_0_NAME = Slide zoom level
HIER_0_COUNT = 1
HIER_0_VAL_0 = ZoomLevel_0
HIER_0_VAL_0_SECTION = LAYER_0_LEVEL_0_SECTION
[LAYER_0_LEVEL_0_SECTION]
OVERLAP_X = 0
OVERLAP_Y = 0
MICROMETER_PER_PIXEL_X = {mpp}
MICROMETER_PER_PIXEL_Y = {mpp}
IMAGE_FORMAT = PNG
IMAGE_FILL_COLOR_BGR = 16777215
DIGITIZER_WIDTH = {tile}
DIGITIZER_HEIGHT = {tile}
IMAGE_CONCAT_FACTOR = 0
[DATAFILE]
FILE_COUNT = 1
FILE_0 = {data}
"""


def mirax_files(
    pixels: NDArray[np.uint8], *, mpp: float = 0.5, index: str = "Index.dat", data: str = "Data0000.dat"
) -> dict[str, bytes]:
    """Return the files of a slide `s`, by their names; sides of `pixels` (height, width, 3) are multiples of 256."""
    rows, columns = pixels.shape[0] // TILE, pixels.shape[1] // TILE
    head = (VERSION + SLIDE_ID).encode()
    stored, entries = io.BytesIO(head), []
    for number in range(rows * columns):
        row, column = divmod(number, columns)
        tile = io.BytesIO()
        part = pixels[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]
        Image.fromarray(part).save(tile, "PNG")
        entries.append((number, stored.seek(0, 2), stored.write(tile.getvalue()), 0))
    table = TABLE.format(
        version=VERSION, slide_id=SLIDE_ID, columns=columns, rows=rows, mpp=mpp, tile=TILE, index=index, data=data
    )
    return {
        "s.mrxs": b"a picture for the file manager",
        "s/Slidedat.ini": b"\xef\xbb\xbf" + table.replace("\n", "\r\n").encode(),
        f"s/{index}": _index(head, entries),
        f"s/{data}": stored.getvalue(),
    }


def _index(head: bytes, entries: list[tuple[int, int, int, int]]) -> bytes:
    """Roots of the hierarchies → one record per level → a first, empty page → the page of tiles."""
    table = len(head) + 8
    first = table + 4
    page = first + 8
    packed = b"".join(struct.pack("<4i", *entry) for entry in entries)
    return (
        head
        + struct.pack("<2i", table, 0)
        + struct.pack("<i", first)
        + struct.pack("<2i", 0, page)
        + struct.pack("<2i", len(entries), 0)
        + packed
    )


def write_mirax(folder: Path, files: dict[str, bytes]) -> Path:
    """Write the files into a folder and return the one that a reader opens."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder / "s.mrxs"
