"""Slides of an attacker: tiles that say that they are far larger than they are, and tiles that are slow to decode."""

from pathlib import Path
from typing import Final

import numpy as np
import tifffile

from benchmarks.attack_kinds import SLOW_PX, SLOW_TILE_PX
from benchmarks.gateway_uploads import Uploader

_CLAIMS: Final = (8_000, 20_000, 65_500)
_FRAME: Final = b"\xff\xc0"
"""Marker of a JPEG's frame; height and width stand five bytes behind it."""


def means_of(port: int, key: str, folder: Path) -> dict[str, str]:
    """Upload the slide with slow tiles and write the bombs; return what an attacker needs, as its environment.

    Args:
        port: Of the gateway.
        key: Of the attacker.
        folder: Gets the files.
    """
    bombs = folder / "bombs"
    bombs.mkdir()
    for claim in _CLAIMS:
        write_bomb(bombs / f"{claim}.tif", claim)
    slow = write_slow(folder / "slow.tif")
    return {"ATTACK_KEY": key, "ATTACK_BOMBS": str(bombs), "ATTACK_SLIDE": str(Uploader(port, key).put(slow)["id"])}


def write_bomb(path: Path, claim: int) -> None:
    """Write a slide of 2 x 2 tiles of 256 px whose JPEG frames say that they have `claim` px a side."""
    pixels = np.full((512, 512, 3), 200, np.uint8)
    tifffile.imwrite(path, pixels, tile=(256, 256), photometric="rgb", compression="jpeg")
    data = bytearray(path.read_bytes())
    place = data.find(_FRAME)
    while place >= 0:
        data[place + 5 : place + 9] = 2 * claim.to_bytes(2, "big")
        place = data.find(_FRAME, place + 9)
    path.write_bytes(data)


def write_slow(path: Path) -> Path:
    """Write a slide of large deflated tiles."""
    pixels = np.full((SLOW_PX, SLOW_PX, 3), 200, np.uint8)
    pixels[::7] = 180
    tile = (SLOW_TILE_PX, SLOW_TILE_PX)
    tifffile.imwrite(path, pixels, tile=tile, photometric="rgb", compression="zlib", metadata=None)
    return path
