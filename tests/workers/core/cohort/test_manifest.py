"""The table of slides: what is taken, and each thing that can be wrong, with its line."""

from pathlib import Path

import numpy as np
import pytest
from dicom_series import write_series

from workers.core.cohort.manifest import read_manifest
from workers.core.errors.base import ModelNotFound, RequestInvalid


def check_model(name: str) -> None:
    if name != "nuclei":
        raise ModelNotFound("No installed model has this name.", value=name, accepted="nuclei")


def manifest(tmp_path: Path, content: str | bytes) -> Path:
    for name in ("a.svs", "b.svs"):
        (tmp_path / name).write_bytes(b"")
    path = tmp_path / "cohort.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_every_column(tmp_path: Path) -> None:
    write_series(tmp_path / "series", np.full((256, 256, 3), 200, np.uint8))
    text = "\ufefflabels, path ,mpp,model\r\n"
    text += f'"patient=7; arm = a,b;",a.svs,0.25,nuclei\r\n,,,\r\n,{tmp_path}/b.svs\r\n,series,,\r\n'
    first, second, third = read_manifest(manifest(tmp_path, text), check_model)
    assert (first.path, first.mpp, first.model) == (tmp_path / "a.svs", 0.25, "nuclei")
    assert first.labels == {"patient": "7", "arm": "a,b"}
    assert (second.path, second.mpp, second.model, second.labels) == (tmp_path / "b.svs", None, None, {})
    assert (third.named, third.path.parent, third.files) == (tmp_path / "series", tmp_path / "series", 4)


@pytest.mark.parametrize(
    ("content", "line", "told"),
    [
        ("path,mppp\na.svs,1\n", 1, "an unknown column"),
        ("path,path\na.svs,1\n", 1, "twice the same column"),
        ("mpp\n1\n", 1, "the column path is missing"),
        ("", 1, "the column path is missing"),
        ("path\na.svs\nabsent.svs\n", 3, "path: no such file"),
        ("path,mpp\n,1\n", 2, "path: no such file"),
        ("path\n" + "x" * 5000 + "\n", 2, "path: no such file"),
        ("path\n.\n", 2, "path: a folder"),
        ("path,mpp\na.svs,0\n", 2, "mpp: "),
        ("path,mpp\na.svs,nan\n", 2, "mpp: "),
        ("path,mpp\na.svs,inf\n", 2, "mpp: "),
        ("path,mpp\na.svs,fine\n", 2, "mpp: "),
        ("path,model\na.svs,nuclei\nb.svs,nuclie\n", 3, "No installed model"),
        ("path,labels\na.svs,patient\n", 2, "labels: no key"),
        ("path,labels\na.svs,p=1;p=2\n", 2, "labels: no key"),
        ("path\na.svs\n./a.svs\n", 3, "path: the slide of line 2 again"),
        ("path\na.svs,1\n", 2, "more fields"),
        ('path\n"a.svs\n', 2, "unexpected end"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, content: str, line: int, told: str) -> None:
    with pytest.raises(RequestInvalid) as error:
        read_manifest(manifest(tmp_path, content), check_model)
    assert error.value.message.startswith(f"cohort.csv, line {line}: {told}")


def test_all_lines_that_are_wrong_are_named(tmp_path: Path) -> None:
    with pytest.raises(RequestInvalid, match=r"line 2: path: no such file\. Also wrong: line 4, 5\.") as error:
        read_manifest(manifest(tmp_path, "path,mpp\nx.svs\na.svs\nb.svs,-1\ny.svs\n"), check_model)
    assert error.value.value == "x.svs"


def test_a_file_that_is_no_table_of_slides(tmp_path: Path) -> None:
    for content, told in ((b"path\n\xff.svs\n", "not UTF-8"), (b"path\n\n", "names no slide")):
        with pytest.raises(RequestInvalid, match=told):
            read_manifest(manifest(tmp_path, content), check_model)
    with pytest.raises(RequestInvalid, match="cannot be read"):
        read_manifest(tmp_path / "absent.csv", check_model)
