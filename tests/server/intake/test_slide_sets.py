"""Slides of several files: zipped, uploaded by every way in, unpacked, opened by openslide, like any other slide."""

import hashlib
import io
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import openslide
import pydicom
import pytest
from dicom_series import write_series
from gateway_fixtures import GatewayWith
from mirax_slide import mirax_files, write_mirax
from numpy.typing import NDArray
from tus_fixtures import Tus, metadata
from zip_files import write_zip

from server.intake import probe, slide_sets
from server.intake.probe import examine
from workers.core.errors.base import LDiffusionError, SlideTooLarge, SlideUnreadable
from workers.core.errors.intake import SlideSetIncomplete
from workers.core.settings import Settings
from workers.core.slides import mirax
from workers.core.slides.readers.registry import open_slide
from workers.core.store import Store

MAX_PIXELS = 10**9


def picture(height: int, width: int) -> NDArray[np.uint8]:
    """Broad stripes of colour, so that a small view of it is still itself."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows // 64 * 50 % 256, columns // 64 * 40 % 256, (rows + columns) // 64 * 30 % 256], 2).astype(
        np.uint8
    )


def zipped(files: dict[str, bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return held.getvalue()


def series_files(folder: Path, pixels: NDArray[np.uint8], prefix: str = "case 7/") -> dict[str, bytes]:
    paths = write_series(folder, pixels)
    return {prefix + path.name: path.read_bytes() for path in sorted(paths, reverse=True)}


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A zip of each kind, of the same 512 x 768 picture."""
    folder = tmp_path_factory.mktemp("sets")
    pixels = picture(512, 768)
    return {
        "mirax": zipped(mirax_files(pixels, mpp=0.25)),
        "dicom": zipped(series_files(folder, pixels) | {"DICOMDIR": b"index"}),
    }


def stored_pixels(store: Store, slide_id: str) -> NDArray[np.uint8]:
    with openslide.OpenSlide(store.slide_file(slide_id)) as slide:
        return np.asarray(slide.read_region((0, 0), 0, slide.dimensions))[..., :3]


@pytest.mark.parametrize(("kind", "mpp"), [("mirax", 0.25), ("dicom", 0.5)])
def test_a_set_in_one_request_is_a_slide_like_any_other(
    gateway: httpx.Client, gateway_settings: Settings, sets: dict[str, bytes], kind: str, mpp: float
) -> None:
    store = Store(gateway_settings.data_dir)
    answer = gateway.put("/v1/slides?filename=case.zip", content=sets[kind])
    assert answer.status_code == 201, answer.text
    info = answer.json()
    geometry = info["geometry"]
    assert (info["vendor"], info["backend"]) == (kind, "openslide")
    assert (geometry["mpp_x"], geometry["mpp_y"], geometry["l0_width"], geometry["l0_height"]) == (mpp, mpp, 768, 512)
    np.testing.assert_array_equal(stored_pixels(store, info["id"]), picture(512, 768))
    thumbnail = gateway.get(f"/v1/slides/{info['id']}/thumbnail.jpeg")
    assert thumbnail.status_code == 200
    tile = gateway.get(f"/v1/slides/{info['id']}/slide_files/10/0_0.jpeg")
    assert tile.status_code == 200
    folder = store.slide_dir(info["id"])
    on_disk = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    assert not [name for name in on_disk if not name.startswith("original") and name != "slide.json"]
    del on_disk["slide.json"]
    assert info["size_bytes"] == sum(path.stat().st_size for path in on_disk.values())
    assert info["sha256"] == hashlib.sha256(sets[kind]).hexdigest()
    sums = subprocess.run(["sha256sum", *sorted(on_disk)], cwd=folder, capture_output=True, check=True).stdout
    assert info["stored_sha256"] == hashlib.sha256(sums).hexdigest()
    assert gateway.delete(f"/v1/slides/{info['id']}").status_code == 204
    assert not folder.exists()
    assert list((gateway_settings.data_dir / "trash").iterdir()) == []


@pytest.mark.parametrize("kind", ["mirax", "dicom"])
def test_a_set_by_tus_is_a_slide(tus: Tus, sets: dict[str, bytes], kind: str) -> None:
    content = sets[kind]
    address = tus.new(len(content), content, Upload_Metadata=metadata(filename="case.zip"))
    view = tus.ended(address)
    assert (view["state"], view["error"]) == ("ready", None)
    info = tus.http.get(f"/v1/slides/{view['slide_id']}").json()
    assert (info["vendor"], info["sha256"]) == (kind, hashlib.sha256(content).hexdigest())
    tus.assert_no_bytes(address)


def test_a_set_that_is_refused_says_why_and_leaves_nothing(tus: Tus) -> None:
    content = zipped({"s.mrxs": b"x", "../s/Slidedat.ini": b"x"})
    address = tus.new(len(content), content, Upload_Metadata=metadata(filename="case.zip"))
    view = tus.ended(address)
    assert (view["state"], view["error"]["code"]) == ("rejected", "archive_refused")
    assert str(tus.settings.data_dir) not in str(view["error"])
    tus.assert_no_bytes(address)


@pytest.mark.parametrize("name", ["biopsy 7.mrxs", "biopsy 7.MRXS"])
def test_a_mirax_file_alone_is_refused_with_the_name_of_its_folder(gateway: httpx.Client, name: str) -> None:
    for answer in (
        gateway.put("/v1/slides", params={"filename": name}, content=b"x"),
        gateway.post("/v1/slides", files={"file": (name, b"x")}),
        gateway.post(
            "/v1/uploads",
            headers={"Tus-Resumable": "1.0.0", "Upload-Length": "1", "Upload-Metadata": metadata(filename=name)},
        ),
    ):
        assert answer.status_code == 422
        error = answer.json()["error"]
        assert error["code"] == "slide_set_incomplete"
        assert "folder biopsy 7" in error["message"]
        assert "zip" in error["accepted"]


def test_what_an_archive_unpacks_to_counts(
    gateway_settings: Settings, gateway_with: GatewayWith, sets: dict[str, bytes]
) -> None:
    content = sets["dicom"]
    tight = gateway_settings.model_copy(update={"quota_bytes": 200_000})
    assert len(content) < 100_000
    with gateway_with(tight) as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        answer = client.put("/v1/slides?filename=case.zip", content=content)
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "quota_exceeded")
        assert "unpacks to" in answer.json()["error"]["message"]  # and it was not unpacked to its end
        headers = {"Tus-Resumable": "1.0.0", "Upload-Length": str(len(content)), "Upload-Metadata": "filename YS56aXA="}
        headers |= {"Content-Type": "application/offset+octet-stream"}
        address = client.post("/v1/uploads", headers=headers, content=content).headers["location"]
        tus = Tus(url, tight)
        with tus.http:
            view = tus.ended(address)
    assert (view["state"], view["error"]["code"]) == ("rejected", "quota_exceeded")


# --- the layouts ------------------------------------------------------------------------------------------------------


@pytest.fixture
def unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, bytes]], slide_sets.Unpacked]:
    """Return a function that unpacks an archive of these files as the child does."""
    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def unpack(files: dict[str, bytes]) -> slide_sets.Unpacked:
        path = write_zip(tmp_path / "set.zip", files)
        return slide_sets.unpack_here(slide_sets.UnpackOrder(archive=str(path), max_bytes=10**8, room_bytes=10**9))

    return unpack


Unpack = Callable[[dict[str, bytes]], slide_sets.Unpacked]


def test_the_first_instance_is_the_one_with_the_most_pixels(unpacked: Unpack, tmp_path: Path) -> None:
    unpacked(series_files(tmp_path / "series", picture(200, 300)))
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(Path().glob("original-*.dcm"))]
    assert [header.ImageType[2] for header in headers] == ["VOLUME", "VOLUME", "OVERVIEW", "LABEL"]
    assert [header.TotalPixelMatrixColumns for header in headers[:2]] == [300, 150]
    assert sorted(path.name for path in Path().iterdir()) == [f"original-{number:04d}.dcm" for number in range(4)]


def test_two_series_are_refused(unpacked: Unpack, tmp_path: Path) -> None:
    both = series_files(tmp_path / "one", picture(64, 64), "one/") | series_files(
        tmp_path / "two", picture(64, 64), "two/"
    )
    with pytest.raises(SlideSetIncomplete, match="several DICOM series"):
        unpacked(both)


def test_instances_of_something_else_are_refused(unpacked: Unpack, tmp_path: Path) -> None:
    (path,) = write_series(tmp_path / "series", picture(64, 64), levels=1, others=False)
    other = path.read_bytes().replace(b"1.2.840.10008.5.1.4.1.1.77.1.6\0"[:-1], b"1.2.840.10008.5.1.4.1.1.77.1.1")
    for content in (other, b"no DICOM", b"\0" * 128 + b"DICM", path.read_bytes()[:300]):
        for file in Path().iterdir():
            file.unlink()
        with pytest.raises(SlideUnreadable, match="instance"):
            unpacked({"1.dcm": content})


FRONT, TABLE = {"x/s.mrxs": b"front"}, {"x/s/Slidedat.ini": b"table"}


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (FRONT, "s.mrxs came without its folder s, which holds the pixels."),
        (FRONT | {"x/s/Index.dat": b"x"}, "s.mrxs came without its folder s"),
        (FRONT | {"s/Slidedat.ini": b"x"}, "no part of the slide"),
        (FRONT | TABLE | {"y/t.mrxs": b"x"}, "several slides"),
        (TABLE, "no part of the slide"),
        ({"readme.txt": b"x"}, "no part of the slide"),
        ({}, "no slide"),
        ({"slide.svs": b"x"}, "no part of the slide"),
        ({"slide.vms": b"x", "slide.jpg": b"x"}, "no part of the slide"),
    ],
)
def test_what_is_no_whole_set_is_refused(unpacked: Unpack, files: dict[str, bytes], sentence: str) -> None:
    with pytest.raises(SlideSetIncomplete) as refused:
        unpacked(files)
    assert sentence in refused.value.message


# --- a table that names files of others -------------------------------------------------------------------------------


def test_openslide_itself_would_read_a_file_outside_of_the_folder(tmp_path: Path) -> None:
    """What the next test guards against is real."""
    files = mirax_files(picture(256, 256), data="Data0000.dat")
    (tmp_path / "secret.dat").write_bytes(files.pop("s/Data0000.dat"))
    files["s/Slidedat.ini"] = files["s/Slidedat.ini"].replace(b"= Data0000.dat", b"= ../../secret.dat")
    path = write_mirax(tmp_path / "mine", files)
    with open_slide(path) as slide:
        assert slide.read_level(0, 0, 0, 256, 256).std() > 0
    with pytest.raises(SlideUnreadable, match="names a file"):
        examine(path, MAX_PIXELS)


@pytest.mark.parametrize(
    "line",
    [
        *(b"FILE_0 = ../x.dat", b"FILE_0=/etc/passwd", b"  FILE_1\t=\tData0001.dat", b"INDEXFILE=..", b"FILE_0="),
        *(b"\xef\xbb\xbfFILE_0 = a.dat", b"FILE_7 = Data0000.dat\\..\\x", b"FILE_00 = a", b"\x0bFILE_0\x0c= a\r"),
    ],
)
def test_a_name_that_is_none_of_a_file_in_the_folder_is_refused(tmp_path: Path, line: bytes) -> None:
    files = mirax_files(picture(256, 256))
    mirax.check_mirax(write_mirax(tmp_path, files))
    files["s/Slidedat.ini"] += b"\r\n" + line + b"\r\n"
    with pytest.raises(SlideUnreadable, match="names a file"):
        mirax.check_mirax(write_mirax(tmp_path, files))


@pytest.mark.parametrize(
    ("line", "error", "sentence"),
    [
        (b"DIGITIZER_WIDTH = 8193", SlideTooLarge, "A tile of this MIRAX slide is too large"),
        (b"\tDIGITIZER_HEIGHT=60000", SlideTooLarge, "A tile of this MIRAX slide is too large"),
        (b"IMAGENUMBER_X = 8388608", SlideTooLarge, "too many tiles"),  # and more than one row
        (b"DIGITIZER_WIDTH = 0x100", SlideUnreadable, "is no number"),
        (b"IMAGENUMBER_Y = -1", SlideUnreadable, "is no number"),
        (b"DIGITIZER_HEIGHT = 99999999999999999999", SlideUnreadable, "is no number"),
    ],
)
def test_a_mirax_slide_that_claims_too_much_is_refused_before_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: bytes, error: type[LDiffusionError], sentence: str
) -> None:
    files = mirax_files(picture(512, 256))
    files["s/Slidedat.ini"] += b"\r\n" + line + b"\r\n"
    monkeypatch.setattr(probe, "open_slide", lambda path: pytest.fail("it was opened"))
    with pytest.raises(error, match=sentence):
        examine(write_mirax(tmp_path, files), MAX_PIXELS)


def test_a_mirax_slide_without_its_folder_or_a_part_is_refused(tmp_path: Path) -> None:
    files = mirax_files(picture(256, 256))
    path = write_mirax(tmp_path, files)
    assert examine(path, MAX_PIXELS).vendor == "mirax"
    (tmp_path / "s" / "Data0000.dat").unlink()
    with pytest.raises(SlideUnreadable, match="names a file"):
        examine(path, MAX_PIXELS)
    (tmp_path / "s" / "Slidedat.ini").unlink()
    with pytest.raises(SlideUnreadable, match="folder"):
        examine(path, MAX_PIXELS)
