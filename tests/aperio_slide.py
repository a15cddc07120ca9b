"""Writes a small Aperio slide with label, macro, thumbnail, and what scanners write into tags."""

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

APERIO = (
    "Aperio Image Library v11.2.1\r\n600x500 [0,0 600x500] (256x256) JPEG/RGB Q=30|AppMag = 20|ScanScope ID = SCAN-77|"
    "Filename = Vespucci-Simonetta|Date = 12/29/09|Time = 09:59:15|User = u-b414003d|Barcode = S09-4711|MPP = 0.2520|"
    "Title = my slide|Rack = 4|MPP2 = 1"
)
SECRETS = ("SCAN-77", "Vespucci", "12/29/09", "09:59:15", "u-b414003d", "S09-4711", "my slide", "dr-botticelli")
LABEL, MACRO = bytes(range(7, 97)), bytes(range(107, 197))
"""A row of 30 px of each; every row is the same."""

TAGS = [
    (315, 2, 0, "dr-botticelli", True),
    (316, 2, 0, "dr-botticelli-host", True),
    (700, 1, 20, b"<dr-botticelli/>    ", True),
]


def noise(height: int, width: int, seed: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def rows_of(pattern: bytes, height: int) -> NDArray[np.uint8]:
    return np.tile(np.frombuffer(pattern, np.uint8).reshape(1, 30, 3), (height, 1, 1))


def write_aperio(path: Path, *, description: str = APERIO, **options: Any) -> Path:
    """An SVS of two levels with thumbnail, label and macro, all uncompressed, and what scanners write into tags."""
    pixels = noise(500, 600)
    first, _, tail = description.partition("|")
    with tifffile.TiffWriter(path, **options) as tiff:
        common: dict[str, Any] = {
            "photometric": "rgb", "metadata": None, "datetime": "2009:12:29 09:59:15", "software": "dr-botticelli-soft",
        }  # fmt: skip
        tiff.write(pixels, tile=(256, 256), description=description, extratags=TAGS, **common)
        tiff.write(pixels[::4, ::4], description=f"{first} -> 150x125|{tail}", **common)
        tiff.write(pixels[::2, ::2], tile=(256, 256), description=f"{first} -> 300x250 - |{tail}", **common)
        for name, pattern, kind in (("label", LABEL, 1), ("macro", MACRO, 9)):
            text = f"Aperio Image Library v11.2.1\r\n{name} 30x40"
            tiff.write(rows_of(pattern, 40), description=text, subfiletype=kind, **common)
    return path
