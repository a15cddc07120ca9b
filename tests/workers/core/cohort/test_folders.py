"""Names of folders: unique, safe, and the same whoever else comes."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.cohort.folders import Folders, alone_in
from workers.core.errors.base import RequestInvalid


def made(folder: Path, *names: str) -> list[tuple[Path, Path]]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return [(path, path) for path in paths]


def test_names_are_those_of_the_slides_and_more_where_two_are_alike(tmp_path: Path) -> None:
    slides = made(tmp_path, "a.svs", "A.ndpi", "x/a.svs", "b.ome.tiff", "c.ome.zarr.zip", "1.2.3.svs", "d")
    names = Folders(tmp_path).assign(slides)
    assert names[:2] == ["a", "A.ndpi"]
    assert names[2] == "a.svs"
    assert names[3:] == ["b", "c", "1.2.3", "d"]
    (more,) = Folders(tmp_path).assign(made(tmp_path, "y/a.svs"))
    assert more.startswith("a-")
    assert len(more) == 10


def test_a_slide_keeps_its_name_whoever_comes_and_goes_and_when_it_is_moved(tmp_path: Path) -> None:
    slides = made(tmp_path, "m/a.svs", "m/b.svs")
    assert Folders(tmp_path).assign(slides[:1]) == ["a"]
    assert Folders(tmp_path).assign(made(tmp_path, "first/a.svs") + slides) == ["a.svs", "a", "b"]
    (tmp_path / "m").rename(tmp_path / "n")
    moved = [(path, path) for path in (tmp_path / "n" / "a.svs", tmp_path / "n" / "b.svs")]
    assert Folders(tmp_path).assign(moved) == ["a", "b"]


def test_names_that_are_not_utf_8_are_told_apart(tmp_path: Path) -> None:
    slides = made(tmp_path, *(os.fsdecode(name) for name in (b"a\xff.svs", b"a\xfe.svs")))
    names = Folders(tmp_path).assign(slides)
    assert len(set(names)) == 2
    assert Folders(tmp_path).assign(slides[::-1]) == names[::-1]


def test_a_slide_that_has_changed_is_seen(tmp_path: Path) -> None:
    ((path, _),) = made(tmp_path, "a.svs")
    folders = Folders(tmp_path)
    folders.assign([(path, path)])
    assert not folders.is_as_seen("a", path)
    folders.saw("a", path)
    assert Folders(tmp_path).is_as_seen("a", path)
    path.write_bytes(b"other")
    assert not Folders(tmp_path).is_as_seen("a", path)


@given(
    st.lists(
        st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=60),
        min_size=1,
        unique=True,
    )
)
def test_any_name_becomes_a_safe_one(tmp_path_factory: pytest.TempPathFactory, given_names: list[str]) -> None:
    folder = tmp_path_factory.mktemp("names")
    slides = [(folder / name, folder / name) for name in given_names if name not in (".", "..")]
    names = Folders(folder).assign(slides)
    assert len({name.casefold() for name in names}) == len(slides)
    for name in names:
        assert name == Path(name).name
        assert name[0] not in ".- "
        assert len(os.fsencode(name)) < 255 - len("segment.log")
        assert name.isprintable()
        (folder / "made" / name).mkdir(parents=True)


def test_one_run_at_a_time_and_not_among_the_results_of_one_slide(tmp_path: Path) -> None:
    with alone_in(tmp_path / "out"), pytest.raises(RequestInvalid, match="Another run"), alone_in(tmp_path / "out"):
        pass
    with alone_in(tmp_path / "out"):
        pass
    (tmp_path / "out" / "plan.json").touch()
    with pytest.raises(RequestInvalid, match="of one slide"), alone_in(tmp_path / "out"):
        pass
    (tmp_path / "out" / "slides.json").write_text("[]")
    with pytest.raises(RequestInvalid, match="list of slides"):
        Folders(tmp_path / "out")
