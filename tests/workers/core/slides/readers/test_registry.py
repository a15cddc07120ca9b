"""The registry of formats: each is told by its bytes, and the table in the documents is the one that it prints."""

from pathlib import Path

import pytest

from workers.core.errors.base import SlideUnreadable
from workers.core.slides.readers.registry import FORMATS, format_of, table


def test_the_documents_show_the_table_that_the_registry_prints(repo_root: Path) -> None:
    assert table() in (repo_root / "docs" / "formats.md").read_text()


def test_every_warning_has_a_row_in_the_documents(repo_root: Path) -> None:
    documented = (repo_root / "docs" / "formats.md").read_text()
    sources = [*(repo_root / "workers").rglob("*.py")]
    codes = {
        line.split('code="')[1].split('"')[0]
        for path in sources
        for line in path.read_text().splitlines()
        if 'code="' in line
    }
    assert len(codes) > 10
    assert {code for code in codes if f"`{code}`" not in documented} == set()


def test_names_are_unique_and_a_file_of_no_format_is_told_what_is_taken(tmp_path: Path) -> None:
    assert len({each.name for each in FORMATS}) == len(FORMATS)
    (tmp_path / "a.svs").write_bytes(b"no slide at all")
    with pytest.raises(SlideUnreadable) as refused:
        format_of(tmp_path / "a.svs")
    assert "Aperio SVS" in str(refused.value.accepted)


def test_formats_are_told_by_bytes_and_not_by_name(cmu_slide: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "photo.jpg"
    renamed.symlink_to(cmu_slide)
    assert format_of(renamed).name == "aperio"
