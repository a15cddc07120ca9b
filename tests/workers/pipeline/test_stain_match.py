"""Sections that are no H&E: what each stain absorbs, laid on glass and looked at as a job does."""

import numpy as np
import pytest
from numpy.typing import NDArray

from workers.pipeline.overview import Overview
from workers.pipeline.stain_match import MIN_PX, find_hues

HAEMATOXYLIN, EOSIN, DAB = (0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78)
ANILIN_BLUE, SIDE = (0.80, 0.59, 0.10), 60


def section(*vectors: tuple[float, float, float], side: int = SIDE) -> tuple[Overview, NDArray[np.bool_]]:
    """Return glass with a square of tissue, each px a mixture of some stains in random shares, and where it is."""
    rng = np.random.default_rng(3)
    shares = rng.dirichlet(np.ones(len(vectors)), (side, side)) * rng.uniform(0.4, 0.9, (side, side, 1))
    pixels = np.full((120, 120, 3), 240.0)
    pixels[20 : 20 + side, 20 : 20 + side] *= 10 ** -(shares @ np.array(vectors))
    tissue = np.zeros((120, 120), np.bool_)
    tissue[20 : 20 + side, 20 : 20 + side] = True
    return Overview.of(np.rint(pixels).astype(np.uint8)), tissue


@pytest.mark.parametrize(
    ("stains", "told"),
    [
        ((HAEMATOXYLIN, EOSIN), None),
        ((HAEMATOXYLIN, EOSIN, EOSIN, EOSIN), None),
        ((HAEMATOXYLIN,), None),  # H&E may be pale of eosin
        ((HAEMATOXYLIN, DAB), "brown"),
        ((DAB,), "brown"),
        ((ANILIN_BLUE, HAEMATOXYLIN), "green is absorbed most"),
        ((EOSIN,), "no haematoxylin"),
    ],
    ids=str,
)
def test_what_h_and_e_does_not_have_is_told(stains: tuple[tuple[float, float, float], ...], told: str | None) -> None:
    hues = find_hues(*section(*stains))
    assert hues.px > 0.9 * SIDE**2
    assert told is None if hues.unlike_he is None else told is not None and told in hues.unlike_he


def test_little_tissue_tells_nothing() -> None:
    hues = find_hues(*section(DAB, side=14))
    assert 0 < hues.px < MIN_PX
    assert hues.unlike_he is None
    overview, tissue = section(DAB)
    assert find_hues(overview, np.zeros_like(tissue)).unlike_he is None


def test_what_is_nearly_black_has_no_hue() -> None:
    overview, tissue = section(HAEMATOXYLIN, EOSIN)
    noise = np.random.default_rng(1).integers(0, 6, (20, SIDE, 3), dtype=np.uint8)
    overview.pixels[20:40, 20 : 20 + SIDE] = noise  # a third of it, as where black surroundings are taken for tissue
    assert find_hues(overview, tissue).unlike_he is None
