"""How much haematoxylin a pixel holds: colour deconvolution with the fixed vectors of Ruifrok and Johnston (2001)."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from workers.core.slides.slide import WHITE, Pixels

VECTORS: Final = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
"""Optical densities in red, green and blue of haematoxylin, eosin and DAB."""

UNIT: Final = 1000
"""Parts of one optical density."""
ZERO: Final = UNIT
"""Where no haematoxylin lies on the scale: eosin may leave less than none."""
MOST: Final = 2**12 - 1


def haematoxylin(pixels: Pixels) -> NDArray[np.uint16]:
    """Return the optical density of haematoxylin of uint8 (..., 3), in thousandths from `ZERO` on, 0 to `MOST`.

    The optical density of a channel is −log₁₀(value / 255), of 0 that of 1; the three are solved for the three stains.
    """
    red, green, blue = _TABLES
    density = red[pixels[..., 0]] + green[pixels[..., 1]] + blue[pixels[..., 2]]
    scaled: NDArray[np.uint16] = np.clip(np.rint(density) + ZERO, 0, MOST).astype(np.uint16)
    return scaled


def _tables() -> NDArray[np.float32]:
    densities = -np.log10(np.maximum(np.arange(WHITE + 1), 1) / WHITE)
    share = np.linalg.inv(np.array(VECTORS))[:, 0]
    tables: NDArray[np.float32] = (UNIT * share[:, np.newaxis] * densities).astype(np.float32)
    return tables


_TABLES: Final = _tables()
