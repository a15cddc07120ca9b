"""Two ways to find tissue that others use, written anew: what `benchmarks.tissue` compares with."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from workers.pipeline.tissue import otsu

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]

SMALL_PX = 16
"""Regions below this many px are dropped by both."""

TO_GREY = np.array([0.2125, 0.7154, 0.0721])


def otsu_on_grey(pixels: Pixels) -> Mask:
    """TIAToolbox's `OtsuTissueMasker` on a thumbnail: grey below Otsu's threshold, small regions dropped."""
    grey = np.rint(pixels @ TO_GREY).astype(np.uint8)
    return without_small(grey <= otsu(grey))


def otsu_on_stain(pixels: Pixels) -> Mask:
    """HistomicsTK's `get_tissue_mask`: haematoxylin of colour deconvolution, smoothed, Otsu's threshold, small dropped.

    Optical density is split into haematoxylin, eosin and their residue (Ruifrok and Johnston 2001).
    """
    stains = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])
    stains = np.vstack([stains, np.cross(stains[0], stains[1])])
    stains /= np.linalg.norm(stains, axis=1, keepdims=True)
    density = -np.log((pixels.astype(np.float64) + 1) / 256)
    haematoxylin = (density @ np.linalg.inv(stains))[..., 0]
    haematoxylin[(pixels == 255).all(axis=2)] = 0
    smooth = ndimage.gaussian_filter(haematoxylin, 1)
    scaled = np.interp(smooth, (smooth.min(), smooth.max()), (0, 255)).astype(np.uint8)
    return without_small(scaled > otsu(scaled))


def without_small(mask: Mask) -> Mask:
    """Drop connected regions below `SMALL_PX`."""
    names, _ = ndimage.label(mask, np.ones((3, 3)))
    large = np.bincount(names.ravel()) >= SMALL_PX
    large[0] = False
    kept: Mask = large[names]
    return kept
