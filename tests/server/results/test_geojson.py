"""Regions changed on their way out, against the same change made with a JSON parser, however the text is cut."""

import gzip
import json
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from server.results import geojson
from workers.core.model.schemas import ModelClass
from workers.core.schemas import Plan
from workers.outputs.vector import vectorize
from workers.pipeline.stitch import LabelArrays

MakePlan = Callable[..., Plan]
BOUNDS = (37, 21, 60, 40)
NASTY = ModelClass(index=2, name='a [1,2] },"properties":{"objectType":"detection"', color=(1, 2, 3))


def written(
    folder: Path, make_plan: MakePlan, watched: Callable[..., Any], labels: NDArray[np.uint8], mpp: float
) -> Path:
    plan = make_plan(labels.shape[1], labels.shape[0], bounds=BOUNDS, mpp_x=mpp, mpp_y=mpp)
    plan = plan.model_copy(update={"classes": (*plan.classes[:2], NASTY)})
    array = watched(labels, 64)
    vectorize.write_geojson(folder / "r.geojson.gz", LabelArrays(array, array), plan)
    return folder / "r.geojson.gz"


def literally(path: Path, space: str, objects: str | None) -> Any:
    """The same with everything in memory and exact numbers."""
    whole = json.loads(gzip.decompress(path.read_bytes()), parse_float=Fraction)
    left, top = whole["bounds_offset"] if space == "qupath" else (0, 0)
    if space == "qupath":
        whole |= {"coordinate_space": "qupath", "bounds_offset": [0, 0], "bounds_subtracted": [left, top]}
    for feature in whole["features"]:
        rings = feature["geometry"]["coordinates"]
        feature["geometry"]["coordinates"] = [[[x - left, y - top] for x, y in ring] for ring in rings]
        feature["properties"]["objectType"] = objects or feature["properties"]["objectType"]
    return whole


@settings(max_examples=40)
@given(
    seed=st.integers(0, 99),
    mpp=st.sampled_from([0.5, 0.25, 0.4321]),
    piece=st.sampled_from([64, 101, 150, 4096]),
    space=st.sampled_from(["level0", "qupath"]),
    objects=st.sampled_from(["annotation", "detection", None]),
)
def test_it_is_what_a_parser_makes_of_it(
    make_plan: MakePlan,
    watched: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    mpp: float,
    piece: int,
    space: geojson.Space,
    objects: geojson.Objects | None,
) -> None:
    labels = np.random.default_rng(seed).choice(np.array([0, 1, 2], np.uint8), (12, 15), p=[0.5, 0.3, 0.2])
    path = written(tmp_path_factory.mktemp("g"), make_plan, watched, labels, mpp)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(geojson, "PIECE_BYTES", piece)
        text = b"".join(geojson.changed(path, space, objects))
    assert json.loads(text, parse_float=Fraction) == literally(path, space, objects)


def test_an_empty_collection_stays_one(make_plan: MakePlan, watched: Callable[..., Any], tmp_path: Path) -> None:
    path = written(tmp_path, make_plan, watched, np.zeros((9, 9), np.uint8), 0.5)
    assert json.loads(b"".join(geojson.changed(path, "qupath", "annotation")))["features"] == []


def test_no_piece_is_longer_than_it_was_read(
    make_plan: MakePlan, watched: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = np.indices((60, 60)).sum(axis=0).astype(np.uint8) % 2
    labels[::3] = 1  # one shape with a long boundary
    path = written(tmp_path, make_plan, watched, labels, 0.4321)
    monkeypatch.setattr(geojson, "PIECE_BYTES", 1000)
    pieces = list(geojson.changed(path, "qupath", "detection"))
    assert len(pieces) > 10
    assert max(map(len, pieces)) < 1400


def test_packed_is_one_gzip_member_without_a_time() -> None:
    content = [b"abc" * 1000, b"", b"def"]
    once, twice = (b"".join(geojson.packed(iter(content))) for _ in range(2))
    assert once == twice
    assert gzip.decompress(once) == b"".join(content)
    reader = zlib.decompressobj(31)
    reader.decompress(once)
    assert (reader.eof, reader.unused_data) == (True, b"")
    assert once[4:8] == bytes(4)
