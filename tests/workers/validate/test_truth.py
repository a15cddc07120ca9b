"""Truth from a file: which annotations are regions, objects, or nobody's, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from qupath_export import annotation, box, write_export

from workers.core.errors.base import RequestInvalid
from workers.validate.truth import IGNORE, REGION, Words, read_truth

CLASSES = ("background", "nucleus", "stroma")
WORDS = Words.of(CLASSES)
ONE = (annotation(REGION, box(0, 0, 90, 90)), annotation("nucleus", box(1, 1, 5, 5)))


def test_classes_say_what_an_annotation_is(tmp_path: Path) -> None:
    file = write_export(
        tmp_path / "truth.geojson",
        annotation("Region*", box(0, 0, 50, 50), name="hot spot"),
        annotation("Region*", box(60, 0, 90, 50)),
        annotation("Nucleus", box(1, 1, 5, 5)),
        annotation("stroma", box(0, 0, 40, 40), box(10, 10, 30, 30)),
        annotation("Ignore*", box(0, 0, 3, 3)),
        annotation("Vessel", box(0, 0, 3, 3)),
        annotation(None, box(0, 0, 3, 3)),
        annotation("Nucleus", box(2, 2, 3, 3), objectType="detection"),
    )
    truth = read_truth(file, WORDS)
    assert [(region.name, region.area) for region in truth.regions] == [("hot spot", 2500), ("region 2", 1500)]
    assert [(shape.label, shape.area) for shape in truth.shapes] == [(2, 1600 - 400), (1, 16), (IGNORE, 9)]
    assert truth.left_out == {"Vessel": 1, "without a class": 1, "Nucleus, of type detection": 1}


def test_names_of_others_are_mapped(tmp_path: Path) -> None:
    inner = annotation(None, box(1, 1, 5, 5))
    inner["properties"]["classification"] = {"names": ["Tumor", "Positive"], "color": [1, 2, 3]}
    file = write_export(
        tmp_path / "truth.geojson",
        annotation("field", box(0, 0, 50, 50)),
        inner,
        annotation("debris", box(9, 9, 20, 20)),
        annotation("blur", box(30, 30, 40, 40)),
    )
    renamed = ("Tumor: positive=Nucleus", "debris=background", "blur=Ignore*")
    truth = read_truth(file, Words.of(CLASSES, "Field", renamed))
    assert sorted(shape.label for shape in truth.shapes) == [0, 1, IGNORE]
    assert not truth.left_out
    for wrong in ("Tumor", "=nucleus", "Tumor=gland"):
        with pytest.raises(RequestInvalid, match="--map names no class") as refused:
            Words.of(CLASSES, renamed=(wrong,))
        assert refused.value.value == wrong
        assert refused.value.accepted == "THEIRS=OURS, with OURS of: background, nucleus, stroma, Ignore*"


def test_the_origin_of_another_frame_is_added(tmp_path: Path) -> None:
    truth = read_truth(write_export(tmp_path / "truth.geojson", *ONE), WORDS, (100, 7))
    assert truth.shapes[0].polygons.coordinates[0][0][:2] == ((101, 8), (105, 8))
    assert truth.regions[0].polygons.coordinates[0][0][0] == (100, 7)


@pytest.mark.parametrize("form", ["collection", "list", "feature"])
def test_every_form_of_an_export_is_read(tmp_path: Path, form: str) -> None:
    file = write_export(tmp_path / "truth.geojson", *ONE)
    if form == "list":
        file.write_text(json.dumps(ONE))
    elif form == "feature":
        file.write_text("\ufeff" + json.dumps(ONE[0]))
        with pytest.raises(RequestInvalid, match="No annotation has a class of the model"):
            read_truth(file, WORDS)
        return
    assert len(read_truth(file, WORDS).shapes) == 1


@pytest.mark.parametrize(
    ("features", "message", "value"),
    [
        ([], "no region within which everything was annotated", "no annotation"),
        ([ONE[1], annotation("Vessel", box(0, 0, 1, 1))], "no region", "Vessel (1), nucleus (1)"),
        ([ONE[0]], "No annotation has a class of the model", "no annotation"),
        ([ONE[0], annotation("Vessel", box(0, 0, 1, 1))], "No annotation has a class", "Vessel (1)"),
        ([ONE[0], annotation("Ignore*", box(0, 0, 1, 1))], "No annotation has a class", "no annotation"),
        (
            [*ONE, annotation("nucleus", [(0, 0), (1, 1)])],
            r"truth.features\[2\].geometry.coordinates\[0\]: a ring",
            None,
        ),
    ],
)
def test_what_tells_nothing_is_refused(tmp_path: Path, features: list[Any], message: str, value: str | None) -> None:
    with pytest.raises(RequestInvalid, match=message) as refused:
        read_truth(write_export(tmp_path / "truth.geojson", *features), WORDS)
    assert value is None or refused.value.value == value


@pytest.mark.parametrize(
    "text",
    ["", "{", "[1]", "7", '{"type": "FeatureCollection"}', '{"features": 3}', '{"type": "Polygon", "coordinates": []}',
     '[{"type": "Feature", "x": NaN}]', "[" * 100_000, None],
)  # fmt: skip
def test_what_is_no_geojson_is_refused(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "truth.geojson"
    if text is not None:
        file.write_text(text)
    with pytest.raises(RequestInvalid, match=r"The truth (cannot be read|is no GeoJSON)") as refused:
        read_truth(file, WORDS)
    assert refused.value.accepted is not None
    assert "Export objects as GeoJSON" in refused.value.accepted


@pytest.mark.parametrize(
    "properties", [None, [], {"classification": 3}, {"classification": {"name": ""}}, {"classification": {"names": 3}}]
)
def test_an_annotation_with_odd_properties_has_no_class(tmp_path: Path, properties: Any) -> None:
    odd = annotation("nucleus", box(0, 0, 1, 1)) | {"properties": properties}
    assert read_truth(write_export(tmp_path / "truth.geojson", *ONE, odd), WORDS).left_out == {"without a class": 1}
