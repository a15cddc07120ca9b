"""Which µm per pixel a slide has: what the request says, else what the file says, never a guess.

The gateway asks before it queues a job and the planner asks again, so both give the same answer.
"""

from fractions import Fraction

from workers.core.errors.base import MppMissing, MppOutOfRange
from workers.core.schemas import MppSource, SlideGeometry

MPP_MIN = 0.02
"""Finest plausible µm per level-0 px."""

MPP_MAX = 50.0
"""Coarsest plausible µm per level-0 px: a 72 dpi photograph says 353."""

COARSEST_RATIO = 2
"""A slide may be at most this many times coarser than the model: what was never recorded cannot be segmented."""


def is_plausible(mpp: float | None) -> bool:
    """Whether a number can be a slide's µm per level-0 px (NaN and None cannot)."""
    return mpp is not None and MPP_MIN <= mpp <= MPP_MAX


def resolve_mpp(geometry: SlideGeometry, request_mpp: float | None, model_mpp: float) -> tuple[float, float, MppSource]:
    """Return µm per level-0 px in x and in y, and where they come from.

    Args:
        geometry: The slide's own numbers; implausible ones count as missing.
        request_mpp: What the client says; wins over the slide's own, for both axes.
        model_mpp: µm per working-plane px of the model.

    Raises:
        MppMissing: Neither the request nor the slide says it.
        MppOutOfRange: The request is implausible, the slide is too coarse for the model, or the whole
            slide is less than one working pixel.
    """
    mpp_x, mpp_y, source = _stated_mpp(geometry, request_mpp)
    coarsest = COARSEST_RATIO * Fraction(str(model_mpp))
    for mpp, l0_length in ((mpp_x, geometry.l0_width), (mpp_y, geometry.l0_height)):
        slide_mpp = Fraction(str(mpp))
        if slide_mpp > coarsest:
            raise MppOutOfRange(
                f"The slide is too coarse for this model, which looks at {model_mpp} µm per pixel.",
                value=mpp,
                accepted=f"at most {float(coarsest)} µm per pixel",
            )
        if l0_length * slide_mpp < Fraction(str(model_mpp)):
            raise MppOutOfRange(
                f"At {mpp} µm per pixel the whole slide is less than one pixel of the model.",
                value=mpp,
                accepted=f"a slide side of at least {model_mpp} µm",
            )
    return mpp_x, mpp_y, source


def _stated_mpp(geometry: SlideGeometry, request_mpp: float | None) -> tuple[float, float, MppSource]:
    if request_mpp is not None:
        if not is_plausible(request_mpp):
            raise MppOutOfRange(
                "The requested mpp is no plausible slide resolution.",
                value=request_mpp,
                accepted=f"mpp from {MPP_MIN} to {MPP_MAX} µm per pixel",
            )
        return request_mpp, request_mpp, "request"
    mpp_x, mpp_y = geometry.mpp_x, geometry.mpp_y
    if mpp_x is None or mpp_y is None or not (is_plausible(mpp_x) and is_plausible(mpp_y)):
        raise MppMissing(
            "The slide does not say how many micrometres a pixel measures.",
            value=None if mpp_x is None and mpp_y is None else f"{mpp_x} x {mpp_y}",
            accepted="mpp in the request, for example 0.5",
        )
    return mpp_x, mpp_y, "metadata"
