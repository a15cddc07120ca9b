"""Every attack by an archive is refused, before or while it is unpacked, and nothing lands where it should not."""

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zip_files
from hypothesis import given
from hypothesis import strategies as st
from zip_files import DEVICE, FIFO, LINK, write_special, write_zip

from server.intake import archives, slide_sets
from server.intake.archives import check_name, entries_of, opened_archive
from server.intake.sandbox import run_confined
from server.intake.slide_sets import Unpacked, UnpackOrder, unpack_here
from workers.core.errors.access import QuotaExceeded
from workers.core.errors.base import DiskFull, Invalid, SlideUnreadable
from workers.core.errors.intake import ArchiveRefused, SlideSetIncomplete
from workers.core.settings import Settings

GOOD = {"s.mrxs": b"front", "s/Slidedat.ini": b"[x]", "s/Index.dat": b"i" * 100, "s/Data0000.dat": b"d" * 1000}
"""A MIRAX slide by its layout."""

MAX_BYTES = 64 * 2**20


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


@pytest.fixture
def unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., set[str]]:
    """Return a function that unpacks an archive as the child does, and returns what is on the disk then."""
    folder = tmp_path / "parent" / "folder"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)

    def unpack(path: Path, **limits: int) -> set[str]:
        unpack_here(UnpackOrder(**{"archive": str(path), "max_bytes": MAX_BYTES, "room_bytes": 2**40, **limits}))
        return files_below(folder)

    return unpack


def test_a_good_archive_is_unpacked_under_names_of_ours(tmp_path: Path, unpacked: Callable[..., set[str]]) -> None:
    junk = {"__MACOSX/s/._Index.dat": b"?", ".DS_Store": b"?", "s/Thumbs.db": b"?"}
    found = unpacked(write_zip(tmp_path / "good.zip", GOOD | junk))
    assert found == {"original.mrxs", "original/Slidedat.ini", "original/Index.dat", "original/Data0000.dat"}
    assert Path("original/Data0000.dat").read_bytes() == GOOD["s/Data0000.dat"]
    assert stat.S_IMODE(Path("original/Data0000.dat").stat().st_mode) == 0o600


NAMES = [
    *("/etc/cron.d/x", "../s/Data0001.dat", "s/../../Data0001.dat", "s/./Data0001.dat", "s//Data0001.dat"),
    *("C:/Data0001.dat", "C:Data0001.dat", "s\\Data0001.dat", "..\\Data0001.dat", "s/Data0001.dat\n", "s/\x7f.dat"),
    *("s/CON", "s/nul.dat", "aux/Data0001.dat", "s/COM1.dat", "s/lpt9", "s/Data0001.dat.", "s/Data0001.dat ", "s/\xa0"),
    *("a/" * 9 + "x", "s/" + "x" * 300, "s/Data\u202e0001.dat", ".", ".."),
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_name_that_is_more_than_a_name_is_refused(
    tmp_path: Path, unpacked: Callable[..., set[str]], name: str
) -> None:
    with pytest.raises(ArchiveRefused):
        check_name(name)
    with pytest.raises(ArchiveRefused):
        unpacked(write_zip(tmp_path / "bad.zip", GOOD | {name: b"x"}))
    assert files_below(tmp_path) == {"bad.zip"}


@given(st.text(max_size=40))
def test_a_name_that_passes_stays_in_its_folder(name: str) -> None:
    try:
        check_name(name)
    except ArchiveRefused:
        return
    base = Path("/base")
    assert (base / name).resolve().is_relative_to(base)
    assert name.isprintable() or name.isspace() is False
    assert "\0" not in name


def test_a_name_with_a_nul_is_refused(tmp_path: Path, unpacked: Callable[..., set[str]]) -> None:
    path = zip_files.rename(write_zip(tmp_path / "nul.zip", GOOD | {"s/Data0001.dat": b"x"}), "a0001.dat", "a0001.da\0")
    with pytest.raises(ArchiveRefused):
        unpacked(path)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("s/Data0001.dat", "s/DATA0001.DAT"),
        ("s/Data0001.dat", "s/Data0001.dat/"),
        ("s/\u00e9.dat", "s/e\u0301.dat"),
        ("s/\ufb01.dat", "s/fi.dat"),
    ],
    ids=ascii,
)
def test_names_that_collide_are_refused(
    tmp_path: Path, unpacked: Callable[..., set[str]], one: str, other: str
) -> None:
    with pytest.raises(ArchiveRefused, match="same name"):
        unpacked(write_zip(tmp_path / "bad.zip", GOOD | {one: b"x", other: b""}))


def test_a_name_twice_is_refused(tmp_path: Path, unpacked: Callable[..., set[str]]) -> None:
    path = write_zip(tmp_path / "bad.zip", GOOD | {"s/Data0001.dat": b"x"})
    with pytest.raises(ArchiveRefused, match="same name"):
        unpacked(zip_files.rename(path, "s/Data0001.dat", "s/Data0000.dat"[:-5] + "0.dat"))


@pytest.mark.parametrize("mode", [LINK, FIFO, DEVICE, 0o040755])
def test_a_link_or_a_device_is_refused(tmp_path: Path, unpacked: Callable[..., set[str]], mode: int) -> None:
    with pytest.raises(ArchiveRefused, match="link or a device"):
        unpacked(write_special(tmp_path / "bad.zip", GOOD, "s/Data0001.dat", mode))


def test_a_name_that_is_not_on_the_list_is_refused(tmp_path: Path, unpacked: Callable[..., set[str]]) -> None:
    bfmemo = (".s.mrxs.bfmemo", "s/.s.mrxs.bfmemo", "s/Data0001.bfmemo")  # Bio-Formats would run what is in one
    for name in (*bfmemo, "s/run.sh", "s/Data0001.zip", "readme.txt", "other/Data0001.dat", "s/deep/Data0001.dat"):
        with pytest.raises(SlideSetIncomplete, match="no part of the slide") as refused:
            unpacked(write_zip(tmp_path / "bad.zip", GOOD | {name: b"x"}))
        assert name in str(refused.value.value)


@pytest.mark.parametrize("name", [".1.dcm.bfmemo", "1.dcm.bfmemo", "x/.bfmemo"])
def test_what_bio_formats_remembers_is_no_part_of_a_series(
    tmp_path: Path, unpacked: Callable[..., set[str]], name: str
) -> None:
    with pytest.raises(SlideSetIncomplete, match="no part of the slide"):
        unpacked(write_zip(tmp_path / "bad.zip", {"1.dcm": b"x", name: b"x"}))


@pytest.mark.process
def test_unpacking_is_cut_off_by_time(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "good.zip", GOOD)
    with pytest.raises(SlideUnreadable, match=r"took more than 0\.01 seconds"):
        slide_sets.unpack(path, tmp_path, Settings(unpack_timeout_s=0.01))


@pytest.mark.process
def test_unpacking_is_cut_off_by_the_size_of_a_file_even_if_nobody_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_zip(tmp_path / "good.zip", GOOD | {"s/Data0001.dat": bytes(10**6)})

    def uncounted(module: str, order: UnpackOrder, report: type[Unpacked], *others: Any) -> Unpacked:
        return run_confined(module, order.model_copy(update={"max_bytes": 2**40}), report, *others)

    monkeypatch.setattr(slide_sets, "run_confined", uncounted)
    with pytest.raises(SlideUnreadable, match="gave up"):
        slide_sets.unpack(path, tmp_path, Settings(upload_max_bytes=10**5))
    assert max(file.stat().st_size for file in tmp_path.rglob("*.dat")) == 10**5


def test_a_bomb_is_found_by_the_bytes_that_come_out(tmp_path: Path, unpacked: Callable[..., set[str]]) -> None:
    bomb = write_zip(tmp_path / "bomb.zip", GOOD | {"s/Data0001.dat": bytes(32 * 2**20)})
    with pytest.raises(ArchiveRefused, match="too many times its size"):
        unpacked(bomb)
    assert sum(path.stat().st_size for path in Path().rglob("*.dat")) <= archives.RATIO_FREE_BYTES + 2**20


def test_many_small_bombs_are_one(tmp_path: Path, unpacked: Callable[..., set[str]]) -> None:
    many = {f"s/Data{number:04d}.dat": bytes(10 * 2**20) for number in range(1, 4)}
    with pytest.raises(ArchiveRefused, match="too many times its size"):
        unpacked(write_zip(tmp_path / "bomb.zip", GOOD | many))


def test_more_bytes_than_a_slide_may_have_are_refused(tmp_path: Path, unpacked: Callable[..., set[str]]) -> None:
    path = write_zip(tmp_path / "large.zip", GOOD, packed=False)
    total = sum(map(len, GOOD.values()))
    with pytest.raises(ArchiveRefused, match="more bytes than a slide may have"):
        unpacked(path, max_bytes=total - 1)


def test_more_bytes_than_the_tenant_has_room_for_are_refused_while_they_come_out(
    tmp_path: Path, unpacked: Callable[..., set[str]]
) -> None:
    path = write_zip(tmp_path / "large.zip", GOOD, packed=False)
    total = sum(map(len, GOOD.values()))
    with pytest.raises(QuotaExceeded, match="no room for what this archive unpacks to"):
        unpacked(path, quota_bytes=total - 1)
    assert sum(path.stat().st_size for path in Path().rglob("*") if path.is_file()) < total
    for file in (path for path in Path().rglob("*") if path.is_file()):
        file.unlink()
    assert len(unpacked(path, quota_bytes=total)) == 4


def test_exactly_as_many_bytes_are_taken_and_a_full_disk_is_no_refusal(
    tmp_path: Path, unpacked: Callable[..., set[str]]
) -> None:
    path = write_zip(tmp_path / "large.zip", GOOD, packed=False)
    total = sum(map(len, GOOD.values()))
    assert len(unpacked(path, max_bytes=total, room_bytes=total)) == 4
    for file in (path for path in Path().rglob("*") if path.is_file()):
        file.unlink()
    with pytest.raises(DiskFull):
        unpacked(path, room_bytes=total - 1)


@pytest.mark.parametrize(("field", "value"), [("size", 10), ("size", 10**6), ("method", 12), ("flags", 1)])
def test_headers_that_lie_or_ask_for_more_are_refused(
    tmp_path: Path, unpacked: Callable[..., set[str]], field: str, value: int
) -> None:
    path = zip_files.lie(write_zip(tmp_path / "bad.zip", {"1.dcm": b"abc" * 1000}), field, value)
    with pytest.raises(ArchiveRefused):
        unpacked(path)


def test_entries_that_share_bytes_are_refused(tmp_path: Path, unpacked: Callable[..., set[str]]) -> None:
    path = zip_files.overlap(write_zip(tmp_path / "bad.zip", {"1.dcm": b"a" * 500, "2.dcm": b"a" * 500}))
    with pytest.raises(ArchiveRefused):
        unpacked(path)


def test_too_many_entries_are_refused(
    tmp_path: Path, unpacked: Callable[..., set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_zip(tmp_path / "many.zip", GOOD)
    monkeypatch.setattr(archives, "ENTRIES_MAX", len(GOOD) - 1)
    with pytest.raises(ArchiveRefused, match="too many entries"):
        unpacked(path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.99])
def test_a_damaged_archive_is_refused(tmp_path: Path, unpacked: Callable[..., set[str]], share: float) -> None:
    path = write_zip(tmp_path / "good.zip", GOOD)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(Invalid):
        unpacked(path)


def test_an_archive_with_a_flipped_byte_is_refused(tmp_path: Path, unpacked: Callable[..., set[str]]) -> None:
    path = write_zip(tmp_path / "good.zip", GOOD, packed=False)
    path.write_bytes(path.read_bytes().replace(b"dddddddddd", b"dddddXdddd", 1))
    with pytest.raises(ArchiveRefused):
        unpacked(path)


def test_nothing_that_is_there_is_written_over(tmp_path: Path, unpacked: Callable[..., set[str]]) -> None:
    secret = tmp_path / "secret"
    secret.write_text("mine")
    Path("original.mrxs").symlink_to(secret)
    with pytest.raises(FileExistsError):
        unpacked(write_zip(tmp_path / "good.zip", GOOD))
    assert secret.read_text() == "mine"


def test_the_guard_is_what_refuses(
    tmp_path: Path, unpacked: Callable[..., set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the look at the entries the very archive that was refused is taken: so that look is made, and decides."""
    path = write_special(tmp_path / "bad.zip", GOOD, "s/Data0001.dat", LINK)
    with pytest.raises(ArchiveRefused):
        unpacked(path)
    monkeypatch.setattr(slide_sets, "entries_of", lambda archive: archive.infolist())
    assert "original/Data0001.dat" in unpacked(path)
    assert not Path("original/Data0001.dat").is_symlink()


def test_what_file_managers_add_is_passed_over(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "mac.zip", {"__MACOSX/a": b"", "x/.DS_Store": b"", "x/._1.dcm": b"", "x/1.dcm": b"1"})
    with opened_archive(path) as archive:
        assert [entry.filename for entry in entries_of(archive)] == ["x/1.dcm"]
