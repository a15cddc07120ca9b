"""Small dataset folders that several test files write."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def write_pair(
    folder: Path, stem: str, labels: NDArray[np.integer], masks: str = "masks", suffix: str = ".png"
) -> NDArray[np.uint8]:
    """Write `images/<stem>.png` of noise and `<masks>/<stem><suffix>`; return the image."""
    seed = int.from_bytes(stem.encode(), "big") % 2**32
    image = np.random.default_rng(seed).integers(0, 256, (*labels.shape[:2], 3), np.uint8)
    write_image(folder / "images" / f"{stem}.png", image)
    write_image(folder / masks / f"{stem}{suffix}", labels)
    return image


def write_image(path: Path, pixels: NDArray[np.integer]) -> None:
    """Write pixels, with the folders above."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def half(low: int, high: int, side: int = 8) -> NDArray[np.uint8]:
    """Return a square whose upper half is `low` and lower half `high`."""
    labels = np.full((side, side), low, np.uint8)
    labels[side // 2 :] = high
    return labels
