"""What identifies a patient is gone from the bytes; what the pixels need is there; other formats are refused."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pydicom
import pytest
import tifffile
from aperio_slide import APERIO, LABEL, MACRO, SECRETS, noise, write_aperio
from dicom_series import PATIENT, read_header, write_series
from mirax_slide import mirax_files, write_mirax

from server.intake import deidentify as deidentify_module
from server.intake import dicom_strip, tiff_strip
from server.intake.deidentify import StripOrder, deidentify, deidentify_here
from server.intake.dicom_strip import strip_dicom
from server.intake.tiff_strip import strip_tiff
from workers.core.errors.base import SlideUnreadable
from workers.core.errors.intake import DeidentifyRefused
from workers.core.settings import Settings
from workers.core.slides.readers.base import Strip
from workers.core.slides.readers.registry import format_of, open_slide


@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"bigtiff": True, "byteorder": ">"}], ids=str)
def test_an_aperio_slide_is_left_with_its_levels(tmp_path: Path, options: dict[str, Any]) -> None:
    path = write_aperio(tmp_path / "original.svs", **options)
    before = path.read_bytes()
    for pattern in (LABEL, MACRO, *(secret.encode() for secret in SECRETS)):
        assert pattern in before
    with openslide.OpenSlide(path) as slide:
        assert sorted(slide.associated_images) == ["label", "macro", "thumbnail"]
    strip_tiff(path)
    after = path.read_bytes()
    for pattern in (LABEL, MACRO, LABEL[:12], MACRO[-12:], *(secret.encode() for secret in SECRETS)):
        assert pattern not in after
    with openslide.OpenSlide(path) as slide:
        assert dict(slide.associated_images) == {}
        assert slide.level_dimensions == ((600, 500), (300, 250))
        properties = dict(slide.properties)
        read = np.asarray(slide.read_region((0, 0), 0, (600, 500)))[..., :3]
    assert {key: value for key, value in properties.items() if key.startswith("aperio.")} == {
        "aperio.AppMag": "20",
        "aperio.MPP": "0.2520",
    }
    assert (properties["openslide.mpp-x"], properties["openslide.objective-power"]) == ("0.252", "20")
    np.testing.assert_array_equal(read, noise(500, 600))
    with tifffile.TiffFile(path) as tiff:
        assert len(tiff.pages) == 2
        np.testing.assert_array_equal(tiff.pages[1].asarray(), noise(500, 600)[::2, ::2])
        assert not {tag.name for tag in tiff.pages.first.tags} & {
            "DateTime",
            "Artist",
            "HostComputer",
            "Software",
            "XMP",
        }


def test_a_real_slide_is_the_same_slide_without_its_label(cmu_slide: Path, tmp_path: Path) -> None:
    path = tmp_path / "original.svs"
    shutil.copyfile(cmu_slide, path)
    with tifffile.TiffFile(path) as tiff:
        label, macro = tiff.pages[2], tiff.pages[3]
        assert "label" in label.description  # type: ignore[union-attr]
        content = path.read_bytes()
        pieces = [
            content[start : start + count]
            for page in (label, macro)
            for start, count in zip(page.dataoffsets, page.databytecounts, strict=True)
        ]
    assert len(pieces) > 50
    strip_tiff(path)
    after = path.read_bytes()
    assert not [piece for piece in pieces if piece in after]
    assert not [word for word in (b"CPAPERIOCS", b"12/29/09", b"b414003d", b"CMU-1", b"1004486") if word in after]
    with open_slide(cmu_slide) as old, open_slide(path) as new:
        assert old.geometry == new.geometry
        np.testing.assert_array_equal(old.read_level(0, 500, 900, 800, 700), new.read_level(0, 500, 900, 800, 700))


def test_bytes_that_nothing_points_to_go_too(made_slide: Callable[..., Path]) -> None:
    path = made_slide(noise(600, 520), levels=2)
    with path.open("ab") as file:
        file.write(b"Vespucci^Simonetta was here")
    strip_tiff(path)
    assert b"Vespucci" not in path.read_bytes()
    with open_slide(path) as slide:
        assert slide.geometry.mpp_x == pytest.approx(0.5)
        assert len(slide.geometry.levels) == 2
        np.testing.assert_array_equal(slide.read_level(0, 0, 0, 520, 600), noise(600, 520))


def test_a_tiled_label_is_no_level(tmp_path: Path) -> None:
    path = tmp_path / "original.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(noise(600, 600), tile=(256, 256), photometric="rgb", metadata=None)
        tiff.write(noise(300, 300, 4), tile=(256, 256), photometric="rgb", metadata=None, subfiletype=1)
        tiff.write(noise(300, 150, 5), tile=(256, 256), photometric="rgb", metadata=None, subfiletype=1)
        tiff.write(noise(150, 150, 6), tile=(256, 256), photometric="rgb", metadata=None, description="a Label image")
    strip_tiff(path)
    with tifffile.TiffFile(path) as tiff:
        assert [page.shape[:2] for page in tiff.pages] == [(600, 600), (300, 300)]
    assert noise(150, 150, 6)[10].tobytes() not in path.read_bytes()


@pytest.mark.process
@pytest.mark.parametrize("name", ["OS-1-detail.ome.tif", "test3-DAPI-2-387.ndpi"])
def test_other_formats_are_refused(shared_data: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / f"original{Path(name).suffix}"
    shutil.copyfile(shared_data / "wsi" / name, path)
    with pytest.raises(DeidentifyRefused) as refused:
        deidentify(path, Settings())
    assert "DICOM" in str(refused.value.accepted)


@pytest.mark.process
def test_a_mirax_slide_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeidentifyRefused) as refused:
        deidentify(write_mirax(tmp_path, mirax_files(noise(256, 256))), Settings())
    assert refused.value.value == "mirax"


@pytest.mark.parametrize("strip", ["tiff", "dicom", None])
def test_a_slide_is_stripped_as_its_format_says_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strip: Strip | None
) -> None:
    path = write_aperio(tmp_path / "original.svs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(deidentify_module, "format_of", lambda path: replace(format_of(path), strip=strip))
    if strip == "tiff":
        assert deidentify_here(StripOrder(name=path.name)).vendor == "aperio"
        assert LABEL not in path.read_bytes()
        return
    with pytest.raises(DeidentifyRefused) as refused:
        deidentify_here(StripOrder(name=path.name))
    assert refused.value.value == "aperio"
    assert LABEL in path.read_bytes()


@pytest.mark.parametrize("name", ["original.tif", "original.bin"])
def test_what_is_of_a_format_without_a_way_or_of_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / name
    if name.endswith(".tif"):
        tifffile.imwrite(path, noise(256, 256), ome=True, tile=(256, 256), photometric="rgb")
    else:
        path.write_bytes(b"no slide")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DeidentifyRefused) as refused:
        deidentify_here(StripOrder(name=name))
    assert refused.value.value == ("ome-tiff" if name.endswith(".tif") else ".bin")
    assert "OME" not in str(refused.value.accepted)


@pytest.mark.parametrize("description", ["Aperio", "Aperio|MPP = x"])
def test_a_description_without_room_for_the_new_one_is_refused(tmp_path: Path, description: str) -> None:
    with pytest.raises(DeidentifyRefused):
        strip_tiff(write_aperio(tmp_path / "original.svs", description=description))


def test_numbers_that_are_none_do_not_stay(tmp_path: Path) -> None:
    path = write_aperio(tmp_path / "original.svs", description=APERIO.replace("MPP = 0.2520", "MPP = S09-4711"))
    strip_tiff(path)
    assert b"S09-4711" not in path.read_bytes()


def test_what_stays_by_mistake_is_found_by_reading_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff_strip, "KEPT_TAGS", tiff_strip.KEPT_TAGS | {315})
    path = write_aperio(tmp_path / "original.svs")
    strip_tiff(path)
    monkeypatch.undo()
    with pytest.raises(DeidentifyRefused, match="cannot do that"):
        tiff_strip.check_stripped(path, 2)
    with pytest.raises(DeidentifyRefused):
        tiff_strip.check_stripped(write_aperio(tmp_path / "other.svs"), 5)


# --- DICOM ------------------------------------------------------------------------------------------------------------

TELLING = (*PATIENT.values(), "14760426", "STUDY-31", "Lorenzi", "PRIVATE-OPERATOR", "Botticelli")


def test_a_dicom_series_is_left_with_its_volume(tmp_path: Path) -> None:
    files = write_series(tmp_path, noise(200, 300))
    old = [read_header(path) for path in files]
    for secret in TELLING:
        assert secret.encode() in files[0].read_bytes()
    strip_dicom(files)
    assert [path.exists() for path in files] == [True, True, False, False]
    new = [read_header(path) for path in files[:2]]
    content = b"".join(path.read_bytes() for path in files[:2])
    uids = [
        header[name].value for header in old for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    ]
    assert not [secret for secret in (*TELLING, *uids) if secret.encode() in content]
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        assert new[0][name].value == new[1][name].value
    assert new[0].SOPInstanceUID != new[1].SOPInstanceUID
    assert new[0].file_meta.MediaStorageSOPInstanceUID == new[0].SOPInstanceUID
    assert (new[0].PatientName, new[0].PatientID, new[0].PatientIdentityRemoved) == ("", "", "YES")
    with open_slide(files[0]) as slide, openslide.OpenSlide(files[0]) as bare:
        assert dict(bare.associated_images) == {}
        assert (slide.geometry.mpp_x, len(slide.geometry.levels)) == (0.5, 2)
        np.testing.assert_array_equal(slide.read_level(0, 0, 0, 300, 200), noise(200, 300))


@pytest.mark.parametrize("name", ["camelyon_level_j2k_1696x812.dcm", "camelyon_level_jpeg_1152x700.dcm"])
def test_a_real_instance_keeps_its_pixels_and_nothing_else(shared_data: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "original.dcm"
    shutil.copyfile(shared_data / "wsi" / name, path)
    with path.open("ab") as file:
        file.write(b"\xfc\xff\xfc\xffOB\0\0\x08\0\0\0trailing")
    old = pydicom.dcmread(shared_data / "wsi" / name)
    strip_dicom([path])
    new = pydicom.dcmread(path)
    assert new.PixelData == old.PixelData
    assert b"trailing" not in path.read_bytes()
    assert {element.keyword for element in new} <= dicom_strip.KEPT | {
        *dicom_strip.EMPTY,
        *dicom_strip.NEW,
        "PixelData",
    }
    with open_slide(shared_data / "wsi" / name) as before, open_slide(path) as after:
        assert before.geometry == after.geometry
        np.testing.assert_array_equal(before.read_level(0, 0, 0, 600, 600), after.read_level(0, 0, 0, 600, 600))


def changed(path: Path, **attributes: Any) -> Path:
    instance = pydicom.dcmread(path)
    for name, value in attributes.items():
        setattr(instance, name, value)
    instance.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize(
    "attributes",
    [{"BurnedInAnnotation": "YES"}, {"SpecimenLabelInImage": "YES"}, {"ImageType": ["O", "P", "LABEL", "N"]}],
)
def test_writing_in_the_pixels_is_refused(tmp_path: Path, attributes: dict[str, Any]) -> None:
    files = write_series(tmp_path, noise(64, 64), levels=1, others=False)
    with pytest.raises(DeidentifyRefused):
        strip_dicom([changed(path, **attributes) for path in files])


def test_an_instance_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, noise(64, 64), levels=1, others=False)
    content = path.read_bytes()
    for length in (len(content) - 1, len(content) - 64 * 64 * 3 - 4, 400, 100):
        path.write_bytes(content[:length])
        with pytest.raises(SlideUnreadable):
            strip_dicom([path])


@pytest.mark.process
@pytest.mark.parametrize(
    ("limits", "sentence"),
    [({"unpack_timeout_s": 0.01}, "took more than 0.01 seconds"), ({"upload_max_bytes": 1000}, "gave up")],
)
def test_stripping_is_cut_off_by_time_and_by_the_size_of_a_file(
    tmp_path: Path, limits: dict[str, Any], sentence: str
) -> None:
    path = write_aperio(tmp_path / "original.svs")
    with pytest.raises(SlideUnreadable, match=sentence):
        deidentify(path, Settings(**limits))
