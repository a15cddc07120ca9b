"""DICOM annotations, decoded from pydicom's bytes: the polygons of the GeoJSON without holes, on their source slide."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
import shapely
from fiducials import PLAIN, Finished, finish
from numpy.typing import NDArray

from workers import product_tasks
from workers.core.errors.base import ProductRefused
from workers.core.model.schemas import ModelClass, ObjectRules
from workers.core.schemas import Plan
from workers.core.store import Store
from workers.outputs import dicom_ann
from workers.outputs.vector import tracing, vectorize
from workers.pipeline import stitch
from workers.pipeline.stitch import LabelArrays

NAME = "annotations.dcm"
CLASSES = (
    ModelClass(index=0, name="background", color=(255, 255, 255)),
    ModelClass(index=1, name="stroma", color=(9, 200, 9)),
    ModelClass(index=2, name="nucleus", color=(1, 2, 250), snomed=("84640000", "Nucleus")),
    ModelClass(index=3, name="tumour", color=(250, 2, 1), snomed=("1187332001", "Adenocarcinoma")),
    ModelClass(index=4, name="unseen", color=(7, 7, 7)),
)
ODD_MPP = 0.2431


def decode(group: pydicom.Dataset) -> list[NDArray[np.float64]]:
    """Return the points of each polygon of a group, by PS3.3 C.37.1.2: indices count coordinates, from 1."""
    name, kind = (
        ("PointCoordinatesData", "<f4") if "PointCoordinatesData" in group else ("DoublePointCoordinatesData", "<f8")
    )
    numbers = np.frombuffer(group[name].value, kind).astype(np.float64)
    starts = np.frombuffer(group.LongPrimitivePointIndexList, "<i4") - 1
    assert len(starts) == group.NumberOfAnnotations
    return [each.reshape(-1, 2) for each in np.split(numbers, starts[1:])]


def measured(group: pydicom.Dataset) -> dict[str, NDArray[np.float32]]:
    """Return the values of each measurement, by its name and unit."""
    found = {}
    for each in group.MeasurementsSequence:
        name, unit = each.ConceptNameCodeSequence[0].CodeMeaning, each.MeasurementUnitsCodeSequence[0].CodeValue
        [values] = each.MeasurementValuesSequence
        found[f"{name} {unit}"] = np.frombuffer(values.FloatingPointValues, "<f4")
    return found


def geojson_of(arrays: LabelArrays, plan: Plan, folder: Path) -> list[dict[str, Any]]:
    path = folder / "regions.geojson.gz"
    vectorize.write_geojson(path, arrays, plan)
    features: list[dict[str, Any]] = json.loads(gzip.decompress(path.read_bytes()))["features"]
    return features


def assert_same(made: pydicom.Dataset, features: list[dict[str, Any]], plan: Plan) -> None:
    """Check groups against features: outer borders, areas, probabilities, holes, names."""
    names = {feature["properties"]["classification"]["name"] for feature in features}
    assert [group.AnnotationGroupLabel for group in made.AnnotationGroupSequence] == [
        each.name for each in plan.classes if each.name in names
    ]
    for group in made.AnnotationGroupSequence:
        wanted = [f for f in features if f["properties"]["classification"]["name"] == group.AnnotationGroupLabel]
        shapes = [shapely.geometry.shape(f["geometry"]) for f in wanted]
        found = [shapely.Polygon(points) for points in decode(group)]
        assert len(found) == len(shapes)
        assert all(shapely.is_valid(found))
        for mine, theirs in zip(found, shapes, strict=True):
            assert shapely.normalize(mine).equals(shapely.normalize(shapely.Polygon(theirs.exterior)))
        values = measured(group)
        told = [f["properties"]["measurements"] for f in wanted]
        np.testing.assert_allclose(values["Area um2"], [each["Area um^2"] for each in told], rtol=1e-6)
        np.testing.assert_allclose(values["Probability 1"], [each["Mean probability"] for each in told], atol=6e-5)
        holes = sum(len(each.interiors) for each in shapes)
        assert group.AnnotationGroupDescription.startswith(f"Outer borders of objects; {holes} holes are not drawn.")


@pytest.fixture
def planes(dicom: Finished, watched: Callable[..., Any]) -> LabelArrays:
    """Three classes over the plane of `dicom`, with holes, islands in them, and touching objects."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[: dicom.plan.w_height, : dicom.plan.w_width]
    waves = np.sin(x / 23) + np.cos(y / 19) + 0.4 * np.sin((x + y) / 5)
    labels = np.digitize(waves, [-0.6, 0.2, 0.9]).astype(np.uint8)
    labels[rng.random(labels.shape) < 0.0005] = 0
    numbers = ((x // 40 + y // 30 * 100 + 1).astype(np.uint32) * np.uint32(256) + labels) * (labels > 0)
    confidence = rng.integers(0, 256, labels.shape, dtype=np.uint8)
    objects = numbers.astype(np.uint32)
    return LabelArrays(watched(labels, 256), watched(confidence, 256), objects=watched(objects, 256))


@pytest.mark.parametrize("mpp", [0.25, ODD_MPP], ids=["whole", "fraction"])
def test_polygons_and_numbers_are_those_of_the_geojson(
    dicom: Finished, planes: LabelArrays, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mpp: float
) -> None:
    monkeypatch.setattr(tracing, "BAND_PX", 2**17)  # many batches
    rules = ObjectRules(smallest_um2=3)
    plan = dicom.plan.model_copy(update={"classes": CLASSES, "mpp_x": mpp, "objects": rules})
    features = geojson_of(planes, plan, tmp_path)
    assert sum(len(feature["geometry"]["coordinates"]) > 1 for feature in features) > 20
    path = tmp_path / "made.dcm"
    count = dicom_ann.write_annotations(path, planes, plan, dicom.store.slide_file(dicom.info.id))
    assert count == len(features) > 1000
    made = pydicom.dcmread(path)
    assert_same(made, features, plan)
    assert all(("PointCoordinatesData" in each) == (mpp != ODD_MPP) for each in made.AnnotationGroupSequence)


def test_groups_are_coded_and_numbered(dicom: Finished, planes: LabelArrays, tmp_path: Path) -> None:
    plan = dicom.plan.model_copy(update={"classes": CLASSES})
    dicom_ann.write_annotations(tmp_path / "made.dcm", planes, plan, dicom.store.slide_file(dicom.info.id))
    groups = highdicom.ann.annread(tmp_path / "made.dcm").AnnotationGroupSequence
    assert [(each.number, each.label) for each in groups] == [(1, "stroma"), (2, "nucleus"), (3, "tumour")]
    assert [(each.annotated_property_category.value, each.annotated_property_type.value) for each in groups] == [
        ("85756007", "85756007"),  # tissue, as a class without a concept is in a segmentation
        ("91723000", "84640000"),  # anatomical structure
        ("49755003", "1187332001"),  # morphologically abnormal structure
    ]
    assert {each.graphic_type.value for each in groups} == {"POLYGON"}
    assert len({each.uid for each in groups}) == 3
    assert {each.algorithm_identification and each.algorithm_identification.name for each in groups} == {plan.model}


def test_the_marks_are_in_their_places_on_the_source(dicom: Finished) -> None:
    made = pydicom.dcmread(dicom.product(NAME))
    source = pydicom.dcmread(dicom.store.slide_file(dicom.info.id), stop_before_pixels=True)
    assert made.SOPClassUID.name == "Microscopy Bulk Simple Annotations Storage"
    assert (made.Modality, made.AnnotationCoordinateType, made.PixelOriginInterpretation) == ("ANN", "2D", "VOLUME")
    assert (made.StudyInstanceUID, made.PatientID) == (source.StudyInstanceUID, source.PatientID)
    assert made.SeriesInstanceUID != source.SeriesInstanceUID
    [image] = made.ReferencedImageSequence
    assert (image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID) == (source.SOPClassUID, source.SOPInstanceUID)
    [group] = made.AnnotationGroupSequence
    dicom.assert_marks([shapely.Polygon(points).bounds for points in decode(group)])
    assert sorted(measured(group)["Area um2"]) == sorted(mark.width * mark.height * 0.25**2 for mark in PLAIN.marks)
    assert measured(group)["Probability 1"] == pytest.approx(102 / 255)


def test_the_same_job_gives_the_same_identifiers(dicom: Finished, tmp_path: Path) -> None:
    arrays, slide = stitch.open_labels(dicom.folder), dicom.store.slide_file(dicom.info.id)
    dicom_ann.write_annotations(tmp_path / "again.dcm", arrays, dicom.plan, slide)
    first, second = pydicom.dcmread(dicom.product(NAME)), pydicom.dcmread(tmp_path / "again.dcm")
    assert (
        first.SOPInstanceUID
        == second.SOPInstanceUID
        != pydicom.dcmread(dicom.product("segmentation.dcm")).SOPInstanceUID
    )
    assert first.SeriesInstanceUID == second.SeriesInstanceUID
    assert first.AnnotationGroupSequence[0] == second.AnnotationGroupSequence[0]


def test_a_slide_that_is_no_dicom_is_refused_with_a_sentence(plain: Finished) -> None:
    with pytest.raises(
        ProductRefused, match=r"DICOM annotations refer to a DICOM slide, .* did not come as"
    ) as refusal:
        product_tasks.make(plain.store, plain.job_id, NAME)
    assert refusal.value.accepted == "a job on a DICOM slide, or regions.geojson.gz"


def test_what_is_empty_or_too_much_is_refused(
    dicom: Finished, watched: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan, target, slide = dicom.plan, tmp_path / "made.dcm", dicom.store.slide_file(dicom.info.id)
    arrays = stitch.open_labels(dicom.folder)
    nothing = watched(np.zeros((plan.w_height, plan.w_width), np.uint8), 256)
    with pytest.raises(ProductRefused, match="has no object"):
        dicom_ann.write_annotations(target, LabelArrays(nothing, nothing), plan, slide)
    points = 4 * len(PLAIN.marks)
    with pytest.raises(ProductRefused, match="too little memory"):
        dicom_ann.write_annotations(target, arrays, plan, slide, room_bytes=dicom_ann.BYTES_PER_POINT * points - 1)
    monkeypatch.setattr(dicom_ann, "POINTS_MAX", points - 1)
    with pytest.raises(ProductRefused, match="too many points") as refusal:
        dicom_ann.write_annotations(target, arrays, plan, slide)
    assert refusal.value.accepted == f"{points - 1} points, holes included; regions.geojson.gz has no such limit"
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(dicom_ann, "POINTS_MAX", points)
    room = dicom_ann.BYTES_PER_POINT * points
    assert dicom_ann.write_annotations(target, arrays, plan, slide, room_bytes=room) == len(PLAIN.marks)


REAL = ("camelyon_level_j2k_1696x812.dcm", "camelyon_level_jpeg_1152x700.dcm")


@pytest.mark.parametrize("name", REAL)
def test_a_real_slide_has_its_polygons(
    marked_store: tuple[Store, Path], shared_data: Path, tmp_path: Path, name: str
) -> None:
    job = finish(marked_store, shared_data / "wsi" / name, PLAIN, mpp=0.25)
    made = pydicom.dcmread(job.product(NAME))
    features = geojson_of(stitch.open_labels(job.folder), job.plan, tmp_path)
    assert len(features) > 10
    assert_same(made, features, job.plan)
    source = pydicom.dcmread(shared_data / "wsi" / name, stop_before_pixels=True)
    assert made.ReferencedImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert made.StudyInstanceUID == source.StudyInstanceUID
