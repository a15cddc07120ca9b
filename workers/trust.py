"""Why a result cannot be trusted as it is: looked at when a job is planned, and again when it is done.

Each reason has a code and a sentence. It stops nothing: it goes into the plan and the result, and every door shows it.
"""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType
from typing import NamedTuple

from workers.core.model.schemas import ModelCard
from workers.core.quality_schemas import Quality, QualityName
from workers.core.schemas import BadTile, JobRequest, Plan
from workers.core.slide_schemas import L0Box, SlideInfo, TrustWarning
from workers.core.slides.modality_match import suits
from workers.outputs.statistics import Statistics
from workers.pipeline.stain_match import StainHues

COARSE_RATIO = Fraction(3, 2)
"""A slide this many times coarser than the model shows less than the model has learned to see."""

ALL_TISSUE = 0.98
"""A slide that is tissue to this share shows no glass: the mask may have found none."""

ROI_GLASS = 0.9
CONFIDENCE_MIN = 0.6
"""Mean confidence of a class below which a model guesses."""

CLASS_MAX_SHARE = 0.95
"""No class but the background fills a section to this share of its tissue."""

SMALL_MAX_SHARE, SMALL_MIN_COUNT = 0.5, 20
"""Of the objects of a class, how many may be below the model's `smallest_um2`, where there are at least so many."""

LARGEST_OF_SMALLEST = 1000
"""No object is this many times as large as `smallest_um2`: many have grown together."""


class Spoiled(NamedTuple):
    """What is said of a section that is spoiled, from this share of its tissue on."""

    code: str
    message: str
    least: float


SPOILED: dict[QualityName, Spoiled] = {
    "ink": Spoiled("ink_present", "Pen marks or dye lie over the tissue.", 0.005),
    "fold": Spoiled("folds_present", "The tissue has folds.", 0.01),
    "blur": Spoiled("out_of_focus", "The tissue is out of focus.", 0.05),
}


def planned(
    info: SlideInfo,
    request: JobRequest,
    card: ModelCard,
    mpp: tuple[float, float],
    tissue_share: float,
    quality: Quality | None = None,
    hues: StainHues | None = None,
    places: Mapping[QualityName, Sequence[L0Box]] = MappingProxyType({}),
) -> tuple[TrustWarning, ...]:
    """Return what is known before a pixel is segmented.

    Args:
        info: The slide.
        request: What is asked.
        card: The model.
        mpp: µm per level-0 px in force.
        tissue_share: Of the slide, or of the region of interest, 0 to 1.
        quality: How much of its tissue is spoiled; None where that was not looked at.
        hues: What colours its tissue has; None likewise.
        places: Where it is spoiled, level-0 px.
    """
    return (
        *info.warnings,
        *_of_resolution(info, request, card, mpp),
        *_of_modality(info, card),
        *_of_tissue(request, tissue_share),
        *_of_quality(request, quality, places),
        *_of_stain(info, card, hues),
    )


def finished(plan: Plan, statistics: Statistics | None, bad_tiles: Sequence[BadTile] = ()) -> tuple[TrustWarning, ...]:
    """Return all that is known of a result: what the plan knew, what was not read, and what its classes tell."""
    told = (*_of_classes(statistics), *_of_objects(statistics, plan)) if statistics else ()
    return (*plan.warnings, *_of_bad_tiles(bad_tiles), *told)


def _of_resolution(
    info: SlideInfo, request: JobRequest, card: ModelCard, mpp: tuple[float, float]
) -> Iterator[TrustWarning]:
    if request.mpp is not None or info.file_mpp is not None:
        yield TrustWarning(
            code="mpp_by_hand",
            message="The micrometres per pixel were given by a person; the file does not say them.",
            value=f"{mpp[0]:g}",
        )
    if Fraction(str(max(mpp))) > COARSE_RATIO * Fraction(str(card.mpp)):
        yield TrustWarning(
            code="mpp_coarse",
            message=f"The slide is coarser than what the model was trained on, {card.mpp:g} micrometres per pixel.",
            value=f"{max(mpp):g}",
        )


def _of_modality(info: SlideInfo, card: ModelCard) -> Iterator[TrustWarning]:
    if info.modality is not None and not suits(info, card):
        yield TrustWarning(
            code="modality_mismatch",
            message=f"The slide is not of the kind that the model was trained on, {card.modality}.",
            value=f"{info.modality.name}: {'; '.join(info.modality.evidence)}",
        )


def _of_tissue(request: JobRequest, tissue_share: float) -> Iterator[TrustWarning]:
    if not request.tissue:
        return
    where = "slide" if request.roi is None else "region of interest"
    if tissue_share == 0:
        yield TrustWarning(code="no_tissue", message=f"No tissue was found on the {where}: nothing is segmented.")
    elif request.roi is None and tissue_share >= ALL_TISSUE:
        yield TrustWarning(
            code="all_tissue",
            message="All of the slide counts as tissue: if it has glass, that was not found.",
            value=f"{tissue_share:.1%}",
        )
    elif request.roi is not None and tissue_share <= 1 - ROI_GLASS:
        yield TrustWarning(
            code="roi_mostly_glass",
            message="The region of interest is mostly glass.",
            value=f"{tissue_share:.1%} tissue",
        )


def _of_stain(info: SlideInfo, card: ModelCard, hues: StainHues | None) -> Iterator[TrustWarning]:
    """Tell of sections that are no H&E: all models of bright field were trained on it. A grey one is told already."""
    if any(each.code == "colours_absent" for each in info.warnings):
        return
    if hues is not None and card.modality == "brightfield" and hues.unlike_he is not None:
        yield TrustWarning(
            code="stain_unlike_training",
            message="The tissue is not stained as what the model was trained on, H&E.",
            value=hues.unlike_he,
        )


def _of_quality(
    request: JobRequest, quality: Quality | None, places: Mapping[QualityName, Sequence[L0Box]]
) -> Iterator[TrustWarning]:
    if quality is not None:
        for name, (code, message, least) in SPOILED.items():
            share = quality.share(name)
            if share >= least:
                value = f"{share:.1%} of the tissue"
                if name == "blur" and quality.focus_fields_read < quality.focus_fields:
                    value += f", by {quality.focus_fields_read} of {quality.focus_fields} fields"
                yield TrustWarning(code=code, message=message, value=value).at(places.get(name, ()))
    wanted = {"ink", "fold", "blur"} if request.quality else {*request.exclude_quality}
    if unknown := sorted(wanted & _not_told(quality)):
        yield TrustWarning(
            code="quality_unknown",
            message="What was asked of the quality of this slide cannot all be told.",
            value=", ".join(unknown),
        )


def _not_told(quality: Quality | None) -> set[str]:
    """Return what nobody can tell of a slide: all of one that is not bright field; else folds of little tissue, and
    focus of a coarse slide, or of one of which nothing was read."""
    if quality is None:
        return {"ink", "fold", "blur"}
    return ({"fold"} if not quality.folds_told else set()) | ({"blur"} if quality.focus_fields_read == 0 else set())


def _of_bad_tiles(bad_tiles: Sequence[BadTile]) -> Iterator[TrustWarning]:
    if bad_tiles:
        blocks = "1 block" if len(bad_tiles) == 1 else f"{len(bad_tiles)} blocks"
        yield TrustWarning(
            code="parts_left_out",
            message="Parts of the slide cannot be decoded, and nothing is said of them.",
            value=blocks,
        ).at((each.l0_x, each.l0_y, each.l0_x + each.l0_width, each.l0_y + each.l0_height) for each in bad_tiles)


def _of_classes(statistics: Statistics) -> Iterator[TrustWarning]:
    for each in statistics.classes:
        if each.index == 0 or not each.pixels:
            continue
        if each.mean_confidence is not None and each.mean_confidence < CONFIDENCE_MIN:
            yield TrustWarning(
                code="confidence_low",
                message=f"The model is unsure of the class {each.name}.",
                value=f"mean confidence {each.mean_confidence:.2f}",
            )
        if each.share_of_tissue is not None and each.share_of_tissue > CLASS_MAX_SHARE:
            yield TrustWarning(
                code="class_everywhere",
                message=f"Nearly all of the tissue came out as {each.name}.",
                value=f"{each.share_of_tissue:.1%}",
            )


def _of_objects(statistics: Statistics, plan: Plan) -> Iterator[TrustWarning]:
    """Tell of classes whose objects have sizes that objects do not have; of models that say how small one may be."""
    smallest_um2 = plan.objects.smallest_um2
    for each in statistics.classes:
        if not smallest_um2 or each.count is None or each.small_count is None:
            continue
        count = each.count + each.small_count
        if each.small_count >= SMALL_MIN_COUNT and each.small_count > SMALL_MAX_SHARE * count:
            yield TrustWarning(
                code="objects_implausible",
                message=f"Most objects of the class {each.name} are smaller than the model's objects are.",
                value=f"{each.small_count} of {count} below {smallest_um2:g} µm²",
            )
        if each.largest_um2 is not None and each.largest_um2 > LARGEST_OF_SMALLEST * smallest_um2:
            yield TrustWarning(
                code="objects_implausible",
                message=f"An object of the class {each.name} is larger than the model's objects are.",
                value=f"{each.largest_um2:.0f} µm², where {smallest_um2:g} µm² are enough",
            ).at(() if each.largest_box is None else (each.largest_box,))
