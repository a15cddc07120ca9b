"""Whether a confidence can be believed, from counts that add up over images.

The counts of an image are (2, 256): of each level of the confidence plane the pixels, and those of them that are
wrong. So what is measured is the plane that ships, with its 256 levels.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

from models.training.evaluation.metrics import IGNORE, Figures

LEVELS: Final = 256
BINS: Final = 15

Counts = NDArray[np.int64]


def count(reference: NDArray[np.uint8], labels: NDArray[np.uint8], confidence: NDArray[np.uint8]) -> Counts:
    """Return the counts of one image; all of one shape, 255 in the reference is left out."""
    known = reference != IGNORE
    levels, wrong = confidence[known], (labels != reference)[known]
    return np.stack([np.bincount(chosen, minlength=LEVELS) for chosen in (levels, levels[wrong])])


def expected_error(counts: NDArray[np.generic]) -> float:
    """Return the expected calibration error: |share right − mean confidence| of 15 equal bins, weighed by pixels.

    Guo et al., On Calibration of Modern Neural Networks (2017), equation 3. NaN without pixels.
    """
    pixels, wrong = counts.astype(np.float64)
    told = np.arange(LEVELS) / (LEVELS - 1)
    place = np.minimum((told * BINS).astype(int), BINS - 1)
    gap = np.bincount(place, pixels - wrong - pixels * told, BINS)
    return float(np.abs(gap).sum() / pixels.sum()) if pixels.sum() else float("nan")


def risk_coverage_area(counts: NDArray[np.generic]) -> float:
    """Return the mean, over all shares of pixels kept, most confident first, of the share that is wrong among them.

    0 is best. Pixels of one level come in any order: the expectation over all orders. Geifman et al., Bias-Reduced
    Uncertainty Estimation for Deep Neural Classifiers (2019). NaN without pixels.
    """
    pixels, wrong = counts.astype(np.float64)[:, ::-1]
    present = pixels > 0
    pixels, wrong = pixels[present], wrong[present]
    if not pixels.size:
        return float("nan")
    before, wrong_before = np.cumsum(pixels) - pixels, np.cumsum(wrong) - wrong
    rate = wrong / pixels
    # The sum over k = 1 … n of (E + rate·k) / (N + k) = n·rate + (E − rate·N)·(H(N + n) − H(N)).
    harmonic = digamma(before + pixels + 1) - digamma(before + 1)
    return float((pixels * rate + (wrong_before - rate * before) * harmonic).sum() / pixels.sum())


def figures(counts: NDArray[np.generic]) -> Figures:
    """Return both, of the sum of counts."""
    return {("ece",): expected_error(counts), ("aurc",): risk_coverage_area(counts)}
