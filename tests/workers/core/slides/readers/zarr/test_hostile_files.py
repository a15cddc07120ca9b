"""Metadata, links and zips of an OME-Zarr that lie: refused in one sentence, and nothing outside is read."""

import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_zarr import change, read_all, write

from benchmarks.format_zarr import CODECS_3, zipped
from workers.core.errors.base import LDiffusionError, SlideTooLarge, SlideUnreadable
from workers.core.slides.doubts import doubts_of
from workers.core.slides.readers.registry import format_of, open_slide
from workers.core.slides.readers.zarr import entries, metadata

NO_SENSE = [b"", b"[]", b"{", b"[" * 10**6, b'{"a":' * 10**5, b"\xff\xfe", b"null", b"9" * 10**6]


@pytest.mark.parametrize("content", NO_SENSE, ids=range(len(NO_SENSE)))
@pytest.mark.parametrize("name", ["zarr.json", "0/zarr.json"])
def test_json_that_makes_no_sense_is_refused(tmp_path: Path, content: bytes, name: str) -> None:
    folder = write(tmp_path)
    (folder / name).write_bytes(content)
    for path in (folder, zipped(folder, tmp_path / "a.zip")):
        with pytest.raises(SlideUnreadable, match="make no sense") as refused:
            open_slide(path)
        assert str(tmp_path) not in str(refused.value.as_dict())


def test_json_past_the_limit_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path)
    monkeypatch.setattr(metadata, "MAX_JSON_BYTES", 300)
    with pytest.raises(SlideUnreadable, match="too large"):
        open_slide(folder)


@pytest.mark.parametrize(
    "path", ["../b", "..", "/0", "", ".", "0/../../b", "0//1", "a\\b", "0/", "x" * 300, "a\x1b[2J"]
)
def test_a_path_that_leads_elsewhere_is_refused(tmp_path: Path, path: str) -> None:
    folder = write(tmp_path, "0.4")
    change(folder / ".zattrs", lambda said: said["multiscales"][0]["datasets"][0].update(path=path))
    for each in (folder, zipped(folder, tmp_path / "a.zip")):
        with pytest.raises(SlideUnreadable, match="leads to another folder"):
            open_slide(each)


@pytest.mark.parametrize(
    ("version", "said"),
    [("0.4", "0.3"), ("0.4", "0.5"), ("0.5", "0.4"), ("0.5", "0.6-dev1"), ("0.5", None)],
)
def test_other_versions_are_refused_by_name(tmp_path: Path, version: str, said: str | None) -> None:
    folder = write(tmp_path, version)
    if version == "0.4":
        change(folder / ".zattrs", lambda content: content["multiscales"][0].update(version=said))
    else:
        change(folder / "zarr.json", lambda content: content["attributes"]["ome"].update(version=said))
    with pytest.raises(SlideUnreadable, match="version of this OME-Zarr is not understood") as refused:
        open_slide(folder)
    assert str(said or "none") in str(refused.value.value)


@pytest.mark.parametrize("names", ["cxy", "abc", "cyy", "yxz?", "cy"])
def test_axes_that_are_not_understood_are_refused(tmp_path: Path, names: str) -> None:
    folder = write(tmp_path, "0.4")
    axes = [{"name": name, "type": "space"} for name in names]
    change(folder / ".zattrs", lambda said: said["multiscales"][0].update(axes=axes))
    with pytest.raises(SlideUnreadable, match="axes of this OME-Zarr are not understood"):
        open_slide(folder)


def test_a_plate_and_a_group_without_images_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, "0.4")
    change(folder / ".zattrs", lambda said: said.update(plate={"wells": []}))
    with pytest.raises(SlideUnreadable, match="plate of wells"):
        open_slide(folder)
    (folder / ".zattrs").write_text("{}")
    with pytest.raises(SlideUnreadable, match="holds no image"):
        open_slide(folder)


# --- links, zips ------------------------------------------------------------------------------------------------------


def test_links_in_a_folder_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(3 * 64 * 64))
    folder = write(tmp_path, compressors=())
    chunk = folder / "0" / "c" / "0" / "1" / "1"
    chunk.unlink()
    chunk.symlink_to(secret)
    with open_slide(folder) as slide, pytest.raises(SlideUnreadable, match="cannot be decoded"):
        slide.read_level(0, 64, 64, 4, 4)
    assert doubts_of(folder) == ()
    (folder / "0").rename(tmp_path / "elsewhere")
    (folder / "0").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SlideUnreadable, match="metadata of this OME-Zarr are damaged"):
        open_slide(folder)
    linked = tmp_path / "linked.zarr"
    linked.symlink_to(write(tmp_path / "other", compressors=()))
    read_all(linked)


def test_a_zip_of_something_else_or_of_several_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path)
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        for name in ("a", "b"):
            archive.write(folder / "zarr.json", f"{name}/zarr.json")
    with zipfile.ZipFile(tmp_path / "none.zip", "w") as archive:
        archive.writestr("slide.mrxs", b"x")
    for name in ("two.zip", "none.zip"):
        assert format_of(tmp_path / name).name == "ome-zarr"
        with pytest.raises(SlideUnreadable, match="This zip holds no OME-Zarr"):
            open_slide(tmp_path / name)
    (tmp_path / "cut.zip").write_bytes(zipped(folder, tmp_path / "a.zip").read_bytes()[:-40])
    with pytest.raises(SlideUnreadable, match="damaged or cut off"):
        open_slide(tmp_path / "cut.zip")


def test_what_file_managers_add_to_a_zip_is_passed_over(tmp_path: Path) -> None:
    path = zipped(write(tmp_path), tmp_path / "a.zip", "case.ome.zarr/")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/case.ome.zarr/._zarr.json", b"?")
        archive.writestr(".DS_Store", b"?")
    read_all(path)


@pytest.mark.parametrize(("field", "value"), [((24, 22), 10**6), ((10, 8), 12), ((8, 6), 1), ((42, None), 10**6)])
def test_a_zip_whose_directory_lies_is_refused(tmp_path: Path, field: tuple[int, int | None], value: int) -> None:
    path = zipped(write(tmp_path, compressors=()), tmp_path / "a.zip")
    raw = bytearray(path.read_bytes())
    at = raw.index(b"PK\1\2") + field[0]
    while raw[at - field[0] + 46 :][:9] != b"0/c/0/1/1":
        at = raw.index(b"PK\1\2", at) + field[0]
    length = 2 if field[0] in (8, 10) else 4
    raw[at : at + length] = value.to_bytes(length, "little")
    path.write_bytes(raw)
    with pytest.raises(SlideUnreadable):
        read_all(path)


@pytest.mark.parametrize("more", [1, 10**6, 2**31])
def test_a_zip_whose_directory_would_begin_before_the_file_is_refused(tmp_path: Path, more: int) -> None:
    """Python's own reader then counts places from below 0."""
    path = zipped(write(tmp_path), tmp_path / "a.zip")
    raw = bytearray(path.read_bytes())
    at = raw.rindex(b"PK\5\6") + 16
    raw[at : at + 4] = (int.from_bytes(raw[at : at + 4], "little") + more).to_bytes(4, "little")
    path.write_bytes(raw)
    with pytest.raises(SlideUnreadable):
        read_all(path)


def test_too_many_entries_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zipped(write(tmp_path), tmp_path / "a.zip")
    monkeypatch.setattr(entries, "MAX_ENTRIES", 10)
    with pytest.raises(SlideTooLarge, match="too many entries"):
        open_slide(path)


@pytest.fixture(scope="module")
def good_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    return zipped(write(folder, factors=(1, 2), compressors=CODECS_3["blosc"]), folder / "a.zip")


@pytest.mark.slow
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8), st.floats(0.1, 1))
def test_whatever_is_damaged_nothing_but_a_refusal_comes_of_it(
    good_zip: Path, bytes_changed: list[tuple[float, int]], kept: float
) -> None:
    raw = bytearray(good_zip.read_bytes())
    for share, value in bytes_changed:
        raw[int(share * (len(raw) - 1))] = value
    path = good_zip.with_name("damaged.zip")
    path.write_bytes(raw if kept > 0.3 else raw[: int(len(raw) * kept)])
    try:
        read_all(path)
        doubts_of(path)
    except LDiffusionError as error:
        assert str(path.parent) not in str(error.as_dict())  # noqa: PT017  what else is raised fails the test
