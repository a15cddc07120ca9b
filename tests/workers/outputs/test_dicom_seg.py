"""The DICOM segmentation in pydicom and highdicom: it lies on its source slide, and the marks are in their places."""

import tracemalloc
from pathlib import Path

import highdicom
import imagecodecs
import numpy as np
import pydicom
import pytest
from fiducials import HEIGHT, MARKS, MODEL_MPP, WIDTH, Finished
from numpy.typing import NDArray

from workers import product_tasks
from workers.core.errors.base import ProductRefused
from workers.core.schemas import Plan
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


def test_a_binary_plane_that_is_too_large_is_refused(
    dicom: Finished, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    arrays, source = stitch.open_labels(dicom.folder), dicom.store.slide_file(dicom.info.id)
    monkeypatch.setattr(dicom_seg, "NATIVE_MAX_BYTES", 6 * 512 * 512 // 8 - 1)
    with pytest.raises(ProductRefused, match="too many pixels for a BINARY"):
        dicom_seg.write_segmentation(tmp_path / "s.dcm", arrays, dicom.plan, source, "BINARY")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(dicom_seg, "NATIVE_MAX_BYTES", 6 * 512 * 512 // 8)
    dicom_seg.write_segmentation(tmp_path / "s.dcm", arrays, dicom.plan, source, "BINARY")
    assert [path.name for path in tmp_path.iterdir()] == ["s.dcm"]


class Drawn:
    """A plane that is computed where it is read, and notes the largest part that was read at once."""

    def __init__(self, height: int, width: int) -> None:
        self.shape, self.chunks = (height, width), (512, 512)
        self.largest_px = 0
        self._noise = np.random.default_rng(1).integers(0, 4, (64, 64), np.uint8)

    def __getitem__(self, key: tuple[slice, slice]) -> NDArray[np.uint8]:
        rows, cols = (np.arange(each.start, each.stop) for each in key)
        self.largest_px = max(self.largest_px, len(rows) * len(cols))
        return self.pixels(rows[:, None], cols)

    def pixels(self, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return noise, and boxes of one value that tiles lie in and across."""
        is_flat = (rows // 700 + cols // 900) % 3 == 0
        return np.where(is_flat, 0, self._noise[rows % 64, cols % 64]).astype(np.uint8)


class Striped(Drawn):
    """The same of stripes: cheap, and no tile is of one value."""

    def pixels(self, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[np.uint8]:
        return np.tile((cols // 16 % 2).astype(np.uint8), (len(rows), 1))


def of_three(plan: Plan) -> Plan:
    """Return a plan whose classes have the numbers 0, 1 and 3: the third of them is the second segment."""
    background, one = plan.classes
    return plan.model_copy(update={"classes": (background, one, one.model_copy(update={"index": 3, "name": "other"}))})


@pytest.mark.parametrize("offsets", ["basic", "extended"])
@pytest.mark.parametrize("kind", ["LABELMAP", "BINARY"])
def test_every_pixel_of_a_plane_that_is_no_whole_tiles(
    dicom: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: dicom_seg.Coding, offsets: str
) -> None:
    if offsets == "extended":
        if kind == "BINARY":
            pytest.skip("pixels that are not compressed have no offsets")
        monkeypatch.setattr(dicom_seg, "NATIVE_MAX_BYTES", 10_000)
    plane = Drawn(1409, 2051)
    target, source = tmp_path / "made.dcm", dicom.store.slide_file(dicom.info.id)
    dicom_seg.write_segmentation(target, stitch.LabelArrays(plane, plane), of_three(dicom.plan), source, kind)
    numbers = np.array([0, 1, 0, 2], np.uint8)[plane[0:1409, 0:2051]]
    found = highdicom.seg.segread(target, lazy_frame_retrieval=True)  # by the offsets
    assert ("ExtendedOffsetTable" in found) == (offsets == "extended")
    assert found.SegmentsOverlap == "NO"
    assert np.array_equal(found.get_total_pixel_matrix(combine_segments=True), numbers)
    raw = pydicom.dcmread(target)
    frames = raw.pixel_array  # another reader: one fragment after the other
    assert frames.shape == (3 * 5 * (2 if kind == "BINARY" else 1), 512, 512)
    second = (frames[15:] if kind == "BINARY" else frames == 2).astype(bool)
    whole = second.reshape(3, 5, 512, 512).swapaxes(1, 2).reshape(3 * 512, 5 * 512)
    assert np.array_equal(whole[:1409, :2051], numbers == 2)
    assert not whole[1409:].any()
    assert not whole[:, 2051:].any()


def test_frames_are_what_another_decoder_reads() -> None:
    pixels = np.random.default_rng(0).integers(0, 2, (512, 512), np.uint8).repeat(3, axis=1)[:, :512]
    for each in (pixels, np.zeros_like(pixels), np.random.default_rng(0).integers(0, 255, (512, 512), np.uint8)):
        packed = dicom_seg.run_lengths(each)
        assert len(packed) % 2 == 0
        assert imagecodecs.dicomrle_decode(packed, np.uint8) == each.tobytes()


@pytest.mark.parametrize("kind", ["LABELMAP", "BINARY"])
def test_memory_is_that_of_a_block(dicom: Finished, tmp_path: Path, kind: dicom_seg.Coding) -> None:
    plane = Striped(9000, 14000)
    arrays, source = stitch.LabelArrays(plane, plane), dicom.store.slide_file(dicom.info.id)
    tracemalloc.start()
    try:
        dicom_seg.write_segmentation(tmp_path / "made.dcm", arrays, dicom.plan, source, kind)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert plane.largest_px <= 4096**2
    assert peak_bytes < 9000 * 14000


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
