"""Levels of Deep Zoom images over HTTP, put together by the addresses of their tiles alone."""

import io
from typing import NamedTuple

import httpx
import numpy as np
from fiducials import Finished
from numpy.typing import NDArray
from PIL import Image

TILE_PX = 256


class Tiles(NamedTuple):
    """Where the tiles of an image of a job lie: address below `/v1/`, kind of picture, and what its pixels are."""

    base: str
    picture: str
    mode: str


def slide_tiles(job: Finished) -> Tiles:
    return Tiles(f"slides/{job.info.id}/slide_files", "jpeg", "RGB")


def overlay_tiles(job: Finished, kind: str = "overlay") -> Tiles:
    return Tiles(f"jobs/{job.job_id}/{kind}_files", "png", "RGBA")


def top_of(job: Finished) -> int:
    """The finest level: one px of it is one level-0 px."""
    return (max(job.drawn.width, job.drawn.height) - 1).bit_length()


def level_of(client: httpx.Client, job: Finished, tiles: Tiles, level: int) -> NDArray[np.uint8]:
    """Return a whole level as uint8 (height, width, channels)."""
    step = 2 ** (top_of(job) - level)
    width, height = -(-job.drawn.width // step), -(-job.drawn.height // step)
    out = np.zeros((height, width, len(tiles.mode)), np.uint8)
    for y in range(0, height, TILE_PX):
        for x in range(0, width, TILE_PX):
            answer = client.get(f"{tiles.base}/{level}/{x // TILE_PX}_{y // TILE_PX}.{tiles.picture}")
            assert answer.status_code == 200, answer.text
            tile = np.asarray(Image.open(io.BytesIO(answer.content)).convert(tiles.mode))
            assert tile.shape[:2] == (min(TILE_PX, height - y), min(TILE_PX, width - x))
            out[y : y + TILE_PX, x : x + TILE_PX] = tile
    return out
