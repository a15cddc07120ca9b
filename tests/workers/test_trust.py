"""Reasons to doubt a result: each is said where it applies, and nowhere else."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers import trust
from workers.core.errors.jobs import ModalityMismatch
from workers.core.model.schemas import ModelCard, ModelClass, ObjectRules
from workers.core.quality_schemas import QUALITY_NAMES, Quality, QualityArea, QualityName
from workers.core.schemas import BadTile, JobRequest
from workers.core.slide_schemas import (
    PLACES_MAX,
    L0Box,
    Modality,
    ModalityName,
    SlideGeometry,
    SlideInfo,
    SlideLevel,
    TrustWarning,
)
from workers.core.slides.modality_match import require_modality
from workers.outputs.statistics import ClassStatistics, Statistics
from workers.pipeline.stain_match import StainHues

CARD = ModelCard(
    name="made", title="Made", mpp=0.5, classes=(ModelClass(index=0, name="background", color=(0, 0, 0)),),
    tile_px=256, halo_px=32, stride_px=16, digest="0" * 64, license="none", intended_use="tests",
)  # fmt: skip
ROI = {"type": "Polygon", "coordinates": [[(0, 0), (9, 0), (9, 9), (0, 0)]]}


def slide(modality: ModalityName = "brightfield_he", warnings: tuple[TrustWarning, ...] = ()) -> SlideInfo:
    level = SlideLevel(width=1000, height=1000, downsample=1)
    return SlideInfo(
        id="s", filename="a.tif", size_bytes=1, sha256="b" * 64, vendor="generic-tiff", backend="openslide",
        geometry=SlideGeometry(l0_width=1000, l0_height=1000, mpp_x=0.5, mpp_y=0.5, levels=(level,)),
        modality=Modality(name=modality, evidence=("the ground is dark",)), warnings=warnings,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip


def codes(info: SlideInfo, slide_mpp: float = 0.5, share: float = 0.5, **asked: Any) -> list[str]:
    request = JobRequest(slide_id="s", model="made", **asked)
    return [each.code for each in trust.planned(info, request, CARD, (slide_mpp, slide_mpp), share)]


def test_a_slide_that_is_as_it_should_be_gives_no_warning() -> None:
    assert codes(slide()) == []


def test_what_is_known_of_the_slide_comes_first() -> None:
    assert codes(slide(warnings=(TrustWarning(code="planes_unread", message="One of three."),))) == ["planes_unread"]


@pytest.mark.parametrize(
    ("asked", "mpp", "share", "expected"),
    [
        ({"mpp": 0.5}, 0.5, 0.5, ["mpp_by_hand"]),
        ({}, 0.75, 0.5, []),
        ({}, 0.76, 0.5, ["mpp_coarse"]),
        ({}, 0.5, 0.0, ["no_tissue"]),
        ({}, 0.5, 1.0, ["all_tissue"]),
        ({"tissue": False}, 0.5, 1.0, []),
        ({"roi": ROI}, 0.5, 1.0, []),
        ({"roi": ROI}, 0.5, 0.05, ["roi_mostly_glass"]),
        ({"roi": ROI}, 0.5, 0.0, ["no_tissue"]),
    ],
)
def test_each_reason_is_said_where_it_applies(
    asked: dict[str, Any], mpp: float, share: float, expected: list[str]
) -> None:
    assert codes(slide(), mpp, share, **asked) == expected


def spoiled(ink: float = 0, fold: float = 0, blur: float = 0, *, read: int = 9, folds_told: bool = True) -> Quality:
    shares = {"ink": ink, "fold": fold, "blur": blur}
    areas = tuple(QualityArea(name=name, mm2=1, share_of_tissue=shares[name]) for name in QUALITY_NAMES)
    return Quality(areas=areas, folds_told=folds_told, focus_fields=9, focus_fields_read=read)


@pytest.mark.parametrize(
    ("quality", "asked", "expected"),
    [
        (spoiled(ink=0.004, fold=0.009, blur=0.049), {}, []),
        (spoiled(ink=0.005), {}, [("ink_present", "0.5% of the tissue")]),
        (spoiled(fold=0.02), {}, [("folds_present", "2.0% of the tissue")]),
        (spoiled(blur=0.3), {}, [("out_of_focus", "30.0% of the tissue")]),
        (spoiled(blur=0.3, read=4), {}, [("out_of_focus", "30.0% of the tissue, by 4 of 9 fields")]),
        (spoiled(read=0, folds_told=False), {}, []),
        (spoiled(read=0, folds_told=False), {"quality": True}, [("quality_unknown", "blur, fold")]),
        (spoiled(read=0, folds_told=False), {"exclude_quality": ["ink"]}, []),
        (None, {"exclude_quality": ["ink"]}, [("quality_unknown", "ink")]),
        (None, {}, []),
    ],
)
def test_what_spoils_the_tissue_is_told(
    quality: Quality | None, asked: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    request = JobRequest(slide_id="s", model="made", **asked)
    found = trust.planned(slide(), request, CARD, (0.5, 0.5), 0.5, quality)
    assert [(each.code, each.value) for each in found] == expected


def test_what_spoils_the_tissue_has_its_places_and_other_reasons_have_none() -> None:
    request = JobRequest(slide_id="s", model="made", mpp=0.5)
    places: dict[QualityName, list[L0Box]] = {"ink": [(0, 0, 10, 10), (5, 5, 25, 25)], "fold": [(1, 1, 2, 2)]}
    found = trust.planned(slide(), request, CARD, (0.5, 0.5), 0.5, spoiled(ink=0.1), None, places)
    assert [(each.code, each.places, each.places_count) for each in found] == [
        ("mpp_by_hand", (), 0),
        ("ink_present", ((5, 5, 25, 25), (0, 0, 10, 10)), 2),
    ]


@given(st.lists(st.tuples(*[st.integers(0, 40)] * 2, *[st.integers(1, 9)] * 2), max_size=400))
def test_a_warning_tells_its_largest_places_and_counts_all(found: list[tuple[int, int, int, int]]) -> None:
    boxes = [(x, y, x + width, y + height) for x, y, width, height in found]
    told = TrustWarning(code="a", message="A.").at(boxes)
    assert TrustWarning.model_validate_json(told.model_dump_json()) == told
    assert told.places_count == len(set(boxes))
    assert len(told.places) == min(PLACES_MAX, told.places_count)
    assert set(told.places) <= set(boxes)
    areas = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in told.places]
    assert areas == sorted(areas, reverse=True)
    assert sorted(((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in set(boxes)), reverse=True)[: len(areas)] == areas


def test_what_was_not_read_is_told_with_its_places(make_plan: Any) -> None:
    lost = [BadTile(level=1, l0_x=x, l0_y=8, l0_width=4, l0_height=2) for x in (0, 12)]
    plan = make_plan(100, 100)
    (found,) = trust.finished(plan, None, lost)
    assert (found.code, found.value, found.places) == ("parts_left_out", "2 blocks", ((0, 8, 4, 10), (12, 8, 16, 10)))
    assert trust.finished(plan, None, lost[:1])[0].value == "1 block"
    assert trust.finished(plan, None) == ()


def test_fluorescence_is_refused_by_a_model_of_bright_field_or_warned_of() -> None:
    info = slide("fluorescence")
    request = JobRequest(slide_id="s", model="made")
    with pytest.raises(ModalityMismatch, match="was trained on brightfield") as refused:
        require_modality(info, request, CARD)
    assert "the ground is dark" in str(refused.value.value)
    require_modality(info, request.model_copy(update={"ignore_modality": True}), CARD)
    assert codes(info, ignore_modality=True) == ["modality_mismatch"]
    require_modality(info, request, CARD.model_copy(update={"modality": "fluorescence"}))
    with pytest.raises(ModalityMismatch):
        require_modality(slide(), request, CARD.model_copy(update={"modality": "fluorescence"}))
    for name in ("unknown", "brightfield_other"):
        require_modality(slide(name), request, CARD)


@pytest.mark.parametrize(
    ("confidence", "share", "expected"),
    [(0.9, 0.3, []), (0.59, 0.3, ["confidence_low"]), (0.9, 0.96, ["class_everywhere"]), (None, None, [])],
)
def test_classes_that_are_guessed_or_everywhere_are_told(
    make_plan: Any, confidence: float | None, share: float | None, expected: list[str]
) -> None:
    rows = [(0, "background", 10, 0.1, 0.2), (1, "nucleus", 0 if share is None else 90, share, confidence)]
    classes = tuple(
        ClassStatistics(
            index=i, name=name, color=(0, 0, 0), pixels=n, mm2=1.0, share_of_tissue=part, mean_confidence=mean
        )
        for i, name, n, part, mean in rows
    )
    known = TrustWarning(code="mpp_by_hand", message="By hand.")
    plan = make_plan(100, 100, warnings=(known,))
    found = trust.finished(plan, Statistics(mm2_per_pixel=1e-6, slide_mm2=2, tissue_mm2=1, classes=classes))
    assert [each.code for each in found] == ["mpp_by_hand", *expected]
    assert trust.finished(plan, None) == (known,)


@pytest.mark.parametrize(
    ("count", "small", "largest_um2", "smallest_um2", "expected"),
    [
        (100, 100, 9_999.0, 10.0, []),
        (100, 101, 9_999.0, 10.0, ["101 of 201 below 10 µm²"]),
        (0, 19, None, 10.0, []),  # too few to say anything
        (100, 3, 10_001.0, 10.0, ["10001 µm², where 10 µm² are enough"]),
        (1, 50, 99_999.0, 10.0, ["50 of 51 below 10 µm²", "99999 µm², where 10 µm² are enough"]),
        (1, 50, 99_999.0, 0.0, []),  # a model that does not say how small one may be
        (None, None, None, 10.0, []),
    ],
)
def test_objects_of_sizes_that_objects_do_not_have_are_told(
    make_plan: Any,
    count: int | None,
    small: int | None,
    largest_um2: float | None,
    smallest_um2: float,
    expected: list[str],
) -> None:
    nucleus = ClassStatistics(
        index=1, name="nucleus", color=(0, 0, 0), pixels=9, mm2=1.0, share_of_tissue=0.1, mean_confidence=0.9,
        count=count, small_count=small, largest_um2=largest_um2, largest_box=largest_um2 and (1, 2, 30, 40),
    )  # fmt: skip
    plan = make_plan(100, 100, objects=ObjectRules(smallest_um2=smallest_um2))
    found = trust.finished(plan, Statistics(mm2_per_pixel=1e-6, slide_mm2=2, tissue_mm2=1, classes=(nucleus,)))
    assert [(each.code, each.value) for each in found] == [("objects_implausible", value) for value in expected]
    assert [each.places for each in found] == [((1, 2, 30, 40),) if "enough" in value else () for value in expected]


def test_a_section_that_is_no_h_and_e_is_told_to_models_of_it_and_once() -> None:
    request, brown = JobRequest(slide_id="s", model="made"), StainHues(px=1000, green=0.9, brown=0.3, red=0.6)
    grey = slide(warnings=(TrustWarning(code="colours_absent", message="The picture is grey."),))
    glowing = CARD.model_copy(update={"modality": "fluorescence"})
    for info, card, hues, expected in (
        (slide(), CARD, brown, ["stain_unlike_training"]),
        (slide(), CARD, replace(brown, brown=0.02), []),
        (slide(), CARD, None, []),
        (slide("unknown"), glowing, brown, []),
        (grey, CARD, brown, ["colours_absent"]),
    ):
        found = trust.planned(info, request, card, (0.5, 0.5), 0.5, None, hues)
        assert [each.code for each in found] == expected
