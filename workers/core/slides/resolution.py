"""Which µm per pixel a slide has: what the request says, else what the file says, never a guess.

The gateway asks before it queues a job and the planner asks again, so both give the same answer.
"""

from fractions import Fraction

from workers.core.errors.base import MppImplausible, MppMissing, MppOutOfRange
from workers.core.schemas import MppSource
from workers.core.slide_schemas import SlideGeometry

MPP_MIN = 0.05
"""Finest µm per level-0 px that a scanner makes; a converter that is a factor of ten off says 0.025."""

MPP_MAX = 100.0
"""Coarsest plausible µm per level-0 px: a 72 dpi photograph says 353."""

USUAL_MPP = {40.0: 0.25, 20.0: 0.5, 10.0: 1.0}
"""What scanners make at an objective power. Suggested to a person, and never taken silently."""

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
        MppImplausible: What the request says, or else the slide, is nothing that a scanner makes.
        MppOutOfRange: The slide is too coarse for the model, or the whole slide is less than one working pixel.
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
            raise MppImplausible(
                "The requested mpp is no plausible slide resolution.",
                value=request_mpp,
                accepted=f"mpp from {MPP_MIN} to {MPP_MAX} µm per pixel",
            )
        return request_mpp, request_mpp, "request"
    if geometry.implausible_mpp is not None:
        mpp_x, mpp_y = geometry.implausible_mpp
        raise MppImplausible(
            f"The slide says {mpp_x:g} x {mpp_y:g} micrometres per pixel, which no scanner makes.",
            value=f"{mpp_x:g} x {mpp_y:g}",
            accepted=f"from {MPP_MIN} to {MPP_MAX}: the true mpp in the request, {_example(geometry)}",
        )
    if geometry.mpp_x is None or geometry.mpp_y is None:
        raise MppMissing(
            "The slide does not say how many micrometres a pixel measures.",
            accepted=f"mpp in the request, {_example(geometry)}",
        )
    return geometry.mpp_x, geometry.mpp_y, "person" if geometry.mpp_origin == "person" else "metadata"


def _example(geometry: SlideGeometry) -> str:
    power = geometry.objective_power
    usual = USUAL_MPP.get(power) if power else None
    return f"{usual} is usual at {power:g}x" if usual else "for example 0.5"
