"""Slides whose tiles are JPEG, in the ways that scanners and libraries write them."""

from pathlib import Path
from typing import Literal

import numpy as np
import tifffile
from numpy.typing import NDArray

from workers.core.schemas import SlideInfo
from workers.core.slides.reader import open_slide

Kind = Literal["420", "444", "tables", "tables-rgb"]
UInt8 = NDArray[np.uint8]


def smooth_pixels(height: int, width: int) -> UInt8:
    """A picture with edges, slopes and a little noise: all that a JPEG treats in its own way."""
    y, x = np.mgrid[:height, :width]
    waves = [128 + 90 * np.sin(x / a + c) * np.cos(y / b) for a, b, c in ((37, 53, 0), (61, 29, 1), (45, 45, 2))]
    noise = np.random.default_rng(4).integers(-6, 7, (height, width, 3))
    pixels = np.clip(np.stack(waves, axis=-1) + noise, 0, 255).astype(np.uint8)
    pixels[height // 3 : height // 2, width // 4 : width // 3] = (200, 20, 90)
    return pixels


def write_jpeg_slide(
    path: Path,
    pixels: UInt8,
    kind: Kind = "420",
    *,
    tile: int = 256,
    steps: tuple[int, ...] = (1, 2),
    big: bool = False,
) -> Path:
    """Write a pyramid of JPEG tiles; level k holds every `steps[k]`-th pixel.

    The `tables` kinds keep the tables apart in JPEGTables, as libtiff does; `tables-rgb` is not turned into YCbCr
    either, as Aperio has it.
    """
    if kind in ("tables", "tables-rgb"):
        return _by_libtiff(path, pixels, tile, rgb=kind == "tables-rgb")
    with tifffile.TiffWriter(path, bigtiff=big, byteorder=">" if big else "<") as tiff:
        for level, step in enumerate(steps):
            tiff.write(
                pixels[::step, ::step], photometric="rgb", tile=(tile, tile), compression="jpeg",
                compressionargs={"level": 85}, subsampling=(2, 2) if kind == "420" else (1, 1),
                subfiletype=1 if level else 0, metadata=None,
            )  # fmt: skip
    return path


def _by_libtiff(path: Path, pixels: UInt8, tile: int, *, rgb: bool) -> Path:
    import pyvips

    image = pyvips.Image.new_from_memory(pixels.tobytes(), pixels.shape[1], pixels.shape[0], 3, "uchar")
    quality = 95 if rgb else 85  # vips keeps RGB from 90 on
    image.copy(interpretation="srgb").tiffsave(
        str(path), tile=True, tile_width=tile, tile_height=tile, pyramid=True, compression="jpeg", Q=quality
    )
    return path


def info_of(path: Path) -> SlideInfo:
    """What a probe would say of a slide."""
    from fiducials import MOMENT

    with open_slide(path) as slide:
        return SlideInfo(
            id="0" * 32, filename=path.name, size_bytes=path.stat().st_size, sha256="a" * 64, vendor=slide.vendor,
            backend=slide.backend, geometry=slide.geometry, created_at=MOMENT,
        )  # fmt: skip
