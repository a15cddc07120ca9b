"""The DICOM segmentation in pydicom and highdicom: it lies on its source slide, and the marks are in their places."""

from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from fiducials import HEIGHT, MARKS, MODEL_MPP, WIDTH, Finished
from numpy.typing import NDArray

from workers import product_tasks
from workers.core.errors.base import ProductRefused
from workers.outputs import dicom_seg, dicom_source
from workers.pipeline import stitch

KINDS = {"segmentation.dcm": "LABELMAP", "segmentation-binary.dcm": "BINARY"}


@pytest.mark.parametrize("name", KINDS)
def test_highdicom_finds_the_marks(dicom: Finished, name: str) -> None:
    segmentation = highdicom.seg.segread(dicom.product(name))
    assert segmentation.segmentation_type.value == KINDS[name]
    assert segmentation.get_segment_description(1).segment_label == "nucleus"
    matrix = segmentation.get_total_pixel_matrix(combine_segments=True)
    assert matrix.shape == (HEIGHT // 2, WIDTH // 2)
    dicom.assert_marked(matrix == 1)


@pytest.mark.parametrize("name", KINDS)
def test_pydicom_finds_its_own_spacing_and_the_sources_frame(dicom: Finished, name: str) -> None:
    found = pydicom.dcmread(dicom.product(name))
    source = pydicom.dcmread(dicom.store.slide_file(dicom.info.id), stop_before_pixels=True)
    assert found.DimensionOrganizationType == "TILED_FULL"
    assert (found.FrameOfReferenceUID, found.StudyInstanceUID) == (source.FrameOfReferenceUID, source.StudyInstanceUID)
    assert (
        found.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0].ReferencedSOPInstanceUID
        == source.SOPInstanceUID
    )
    measures = found.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert [float(each) for each in measures.PixelSpacing] == [MODEL_MPP / 1000] * 2
    assert (found.TotalPixelMatrixColumns, found.TotalPixelMatrixRows) == (WIDTH // 2, HEIGHT // 2)
    assert found.NumberOfFrames == 3 * 2


@pytest.mark.parametrize(
    ("snomed", "category"),
    [
        (None, "85756007"),
        (("84640000", "Nucleus"), "91723000"),
        (("85756007", "Body tissue structure"), "91723000"),
        (("1187332001", "Adenocarcinoma"), "49755003"),
        (("108369006", "Neoplasm"), "49755003"),
    ],
)
def test_a_segment_is_the_concept_of_its_class(
    dicom: Finished, tmp_path: Path, snomed: tuple[str, str] | None, category: str
) -> None:
    background, nucleus = dicom.plan.classes
    plan = dicom.plan.model_copy(update={"classes": (background, nucleus.model_copy(update={"snomed": snomed}))})
    target = tmp_path / "made.dcm"
    dicom_seg.write_segmentation(target, stitch.open_labels(dicom.folder), plan, dicom.store.slide_file(dicom.info.id))
    segment = pydicom.dcmread(target).SegmentSequence[-1]  # a LABELMAP describes the background too
    [kind], [found] = segment.SegmentedPropertyTypeCodeSequence, segment.SegmentedPropertyCategoryCodeSequence
    assert (kind.CodeValue, kind.CodeMeaning) == (snomed or ("85756007", "Tissue"))
    assert (found.CodeValue, found.CodingSchemeDesignator) == (category, "SCT")


def test_a_mark_has_one_place_on_the_glass(dicom: Finished) -> None:
    """The centre of a mark in slide coordinates, by the source's geometry and by the segmentation's."""
    source = pydicom.dcmread(dicom.store.slide_file(dicom.info.id), stop_before_pixels=True)
    found = pydicom.dcmread(dicom.product("segmentation.dcm"))
    mark = MARKS[1]
    l0_center = np.array([mark.x + mark.width / 2, mark.y + mark.height / 2])
    assert on_glass(source, l0_center - 0.5) == pytest.approx(on_glass(found, l0_center / 2 - 0.5), abs=1e-6)


def on_glass(image: pydicom.Dataset, pixel: NDArray[np.float64]) -> tuple[float, float]:
    """Return mm of a (column, row) counted from the centre of the first pixel (DICOM PS3.3 C.7.6.16.2.3)."""
    origin = image.TotalPixelMatrixOriginSequence[0]
    across, down = np.array(image.ImageOrientationSlide, float).reshape(2, 3)
    down_mm, across_mm = image.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing
    start = np.array([origin.XOffsetInSlideCoordinateSystem, origin.YOffsetInSlideCoordinateSystem, 0], float)
    place = start + across * float(across_mm) * pixel[0] + down * float(down_mm) * pixel[1]
    return float(place[0]), float(place[1])


def test_the_same_job_gives_the_same_identifiers(dicom: Finished, tmp_path: Path) -> None:
    again = tmp_path / "again.dcm"
    arrays = stitch.open_labels(dicom.folder)
    dicom_seg.write_segmentation(again, arrays, dicom.plan, dicom.store.slide_file(dicom.info.id))
    first, second = pydicom.dcmread(dicom.product("segmentation.dcm")), pydicom.dcmread(again)
    assert (first.SOPInstanceUID, first.SeriesInstanceUID) == (second.SOPInstanceUID, second.SeriesInstanceUID)


def test_a_slide_without_patient_and_study_attributes_has_a_segmentation(dicom: Finished, tmp_path: Path) -> None:
    bare = pydicom.dcmread(dicom.store.slide_file(dicom.info.id))
    for keyword in dicom_source.MAY_BE_ABSENT:
        bare.pop(keyword, None)
    bare.save_as(tmp_path / "bare.dcm")
    dicom_seg.write_segmentation(
        tmp_path / "made.dcm", stitch.open_labels(dicom.folder), dicom.plan, tmp_path / "bare.dcm"
    )
    found = pydicom.dcmread(tmp_path / "made.dcm")
    assert found.StudyInstanceUID == bare.StudyInstanceUID
    assert not any(str(found[keyword].value or "") for keyword in dicom_source.MAY_BE_ABSENT)


def test_a_slide_that_is_no_dicom_is_refused_with_a_sentence(plain: Finished) -> None:
    with pytest.raises(ProductRefused, match="did not come as DICOM") as refusal:
        product_tasks.make(plain.store, plain.job_id, "segmentation.dcm")
    assert refusal.value.accepted == "a job on a DICOM slide, or labels.ome.tif"
    assert not (plain.folder / "products" / "segmentation.dcm").exists()


def test_a_plane_that_is_too_large_is_refused(dicom: Finished, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(dicom_seg, "PLANE_MAX_PX", 1000)
    arrays = stitch.open_labels(dicom.folder)
    with pytest.raises(ProductRefused, match="too many pixels"):
        dicom_seg.write_segmentation(tmp_path / "s.dcm", arrays, dicom.plan, dicom.store.slide_file(dicom.info.id))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("frames", ["first", "none"])
def test_pixel_measures_of_each_frame_are_read_and_without_any_it_is_refused(
    dicom: Finished, tmp_path: Path, frames: str
) -> None:
    slide = pydicom.dcmread(dicom.store.slide_file(dicom.info.id))
    measures = slide.SharedFunctionalGroupsSequence[0].pop("PixelMeasuresSequence")
    if frames == "first":
        group = pydicom.Dataset()
        group[measures.tag] = measures
        slide.PerFrameFunctionalGroupsSequence = [group] * int(slide.NumberOfFrames)
    slide.save_as(tmp_path / "slide.dcm")
    arrays, target = stitch.open_labels(dicom.folder), tmp_path / "made.dcm"
    if frames == "none":
        with pytest.raises(ProductRefused, match="does not say how large its pixels are"):
            dicom_seg.write_segmentation(target, arrays, dicom.plan, tmp_path / "slide.dcm")
        return
    dicom_seg.write_segmentation(target, arrays, dicom.plan, tmp_path / "slide.dcm")
    found = pydicom.dcmread(target).SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert [float(each) for each in found.PixelSpacing] == [MODEL_MPP / 1000] * 2


def test_a_plane_for_which_there_is_no_memory_is_refused(dicom: Finished, tmp_path: Path) -> None:
    arrays, slide = stitch.open_labels(dicom.folder), dicom.store.slide_file(dicom.info.id)
    height, width = arrays.labels.shape
    with pytest.raises(ProductRefused, match="too little memory"):
        dicom_seg.write_segmentation(
            tmp_path / "s.dcm", arrays, dicom.plan, slide, room_bytes=dicom_seg.BYTES_PER_PX * height * width - 1
        )
    assert list(tmp_path.iterdir()) == []
