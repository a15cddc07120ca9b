"""Which files of folders, patterns and lists are slides."""

from pathlib import Path

import numpy as np
import pytest
from dicom_series import write_series

from workers.core.cohort.slides_in import find_slides, means_many
from workers.core.errors.base import RequestInvalid

PIXELS = np.full((256, 256, 3), 200, np.uint8)


def files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def found(folder: Path, *named: str | Path, results: str = "out") -> list[str]:
    slides = find_slides([folder / each for each in named], folder / results)
    return [str(each.named.relative_to(folder)) for each in slides]


def test_of_a_folder_names_of_slides_are_taken_and_nothing_that_is_hidden_or_ours(tmp_path: Path) -> None:
    files(tmp_path, "b.SVS", "a.tif", "s.mrxs", "s/Slidedat.ini", "s/Data0000.dat", "notes.txt", "a.jpg", "._b.svs")
    files(tmp_path, ".trash/c.svs", "__MACOSX/._d.svs", "deep/er/e.ndpi", "z.ome.zarr.zip", "w.zarr/zarr.json")
    files(tmp_path, "w.zarr/0/a.tif", "out/b/overlay.ome.tif", "old/plan.json", "old/overlay.ome.tif")
    assert found(tmp_path, ".") == ["a.tif", "b.SVS", "s.mrxs", "z.ome.zarr.zip", "deep/er/e.ndpi"]


def test_what_is_named_is_taken_as_it_is_and_once(tmp_path: Path) -> None:
    files(tmp_path, "b.svs", "a.svs", "photo.any")
    (tmp_path / "same.svs").symlink_to(tmp_path / "a.svs")
    assert found(tmp_path, "photo.any", "b.svs", "same.svs", ".") == ["photo.any", "b.svs", "same.svs"]


def test_patterns(tmp_path: Path) -> None:
    files(tmp_path, "x/a.svs", "x/b.tif", "x/y/c.svs", "x/d.txt", "odd[1].svs")
    assert found(tmp_path, "x/*.svs") == ["x/a.svs"]
    assert found(tmp_path, "x/**/*.svs") == ["x/a.svs", "x/y/c.svs"]
    assert found(tmp_path, "x/*") == ["x/a.svs", "x/b.tif", "x/d.txt", "x/y/c.svs"]
    assert found(tmp_path, "odd[1].svs") == ["odd[1].svs"], "a file that is there is no pattern"
    assert not means_many([tmp_path / "odd[1].svs"])
    assert means_many([tmp_path / "x/*.svs"])
    assert means_many([tmp_path / "x"])
    assert not means_many([tmp_path / "absent.svs"])


@pytest.mark.parametrize("named", ["absent.svs", "*.svs", "empty"])
def test_what_leads_to_no_slide_is_an_error(tmp_path: Path, named: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestInvalid) as error:
        found(tmp_path, named)
    assert error.value.value == tmp_path / named


def test_a_dicom_series_is_one_slide_and_its_largest_instance_is_opened(tmp_path: Path) -> None:
    one = write_series(tmp_path / "one", PIXELS)
    write_series(tmp_path / "both", PIXELS)
    for path in write_series(tmp_path / "second", PIXELS):
        path.rename(tmp_path / "both" / f"second-{path.name}")
    (tmp_path / "second").rmdir()
    files(tmp_path, "broken/a.dcm", "broken/b.dcm")
    first, second, *broken, single = find_slides([tmp_path])
    assert [each.path.name for each in broken] == ["a.dcm", "b.dcm"]
    assert (single.named, single.path, len(single.files)) == (tmp_path / "one", one[0], 4)
    assert {first.path.parent, second.path.parent} == {tmp_path / "both"}
    assert (first.named, second.named) == (first.path, second.path), "the folder is not the name of one of two"
    assert [each.named for each in find_slides([tmp_path / "one" / "*.dcm"])] == [tmp_path / "one"]
