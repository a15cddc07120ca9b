"""A region of interest on a command line: a box, a file, or a sentence that says what it is not."""

import json
from pathlib import Path

import click
import pytest

from workers.core.roi.option import RoiOption

TRIANGLE = {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [0, 9], [0, 0]]]}


def read(value: str) -> object:
    return RoiOption().convert(value, None, None)


def test_a_box_is_four_numbers() -> None:
    assert read("1,2.5,30,4e2") == [1, 2.5, 30, 400]


@pytest.mark.parametrize("name", ["roi.json", "a,b,c,d.json", "1,2,3,4"])
def test_a_file_is_read_whatever_it_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(json.dumps(TRIANGLE))
    assert read(name) == TRIANGLE
    assert read(str(tmp_path / name)) == TRIANGLE


@pytest.mark.parametrize("value", ["1,2,3", "1,2,3,x", "no-such-file.json", "", "."])
def test_anything_else_is_refused_in_one_sentence(tmp_path: Path, value: str) -> None:
    with pytest.raises(click.BadParameter, match="neither a box x0,y0,x1,y1 nor a file of GeoJSON"):
        read(value)


def test_a_file_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "roi.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(click.BadParameter, match="neither"):
        read(str(tmp_path / "roi.json"))
