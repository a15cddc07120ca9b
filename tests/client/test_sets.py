"""Slides of several files, as a client packs them, and as the server takes them."""

import os
import zipfile
from pathlib import Path

import httpx
import numpy as np
import pytest
from dicom_series import write_series
from made_slides import write_slide
from mirax_slide import mirax_files, write_mirax

from ldiffusion_client import Client, Refused
from ldiffusion_client.sets import files_of, pack


def packed(path: Path, archive: Path) -> bytes:
    files = files_of(path)
    assert files is not None
    pack(files, archive)
    return archive.read_bytes()


def test_a_mirax_slide_goes_with_its_folder_and_always_as_the_same_bytes(tmp_path: Path) -> None:
    made = {"s.mrxs": b"index", "s/Slidedat.ini": b"[GENERAL]", "s/Data0000.dat": b"\0" * 3_000_000}
    path = write_mirax(tmp_path, made | {"s/.DS_Store": b"x", "other.svs": b"y"})
    first = packed(path, tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == made
    for each in (tmp_path / "s").iterdir():
        os.utime(each, (0, 0))
    assert packed(path, tmp_path / "b.zip") == first


def test_one_file_is_sent_as_it_is_and_nothing_is_no_slide(tmp_path: Path) -> None:
    for name in ("a.svs", "alone.mrxs"):
        (tmp_path / name).write_bytes(b"x")
        assert files_of(tmp_path / name) is None
    (tmp_path / "empty").mkdir()
    with pytest.raises(Refused, match="no files"):
        files_of(tmp_path / "empty")


def test_a_set_with_a_name_that_is_not_utf_8_is_refused_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "series"
    folder.mkdir()
    (folder / os.fsdecode(b"sl\xe4de.dcm")).write_bytes(b"x")
    with pytest.raises(Refused, match="not UTF-8") as caught:
        files_of(folder)
    assert caught.value.value == "sl\ufffdde.dcm"


def test_a_file_whose_name_is_not_utf_8_goes_up_and_is_known_again(gateway: httpx.Client, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"sl\xe4de.tif")
    write_slide(tmp_path / "a.tif", np.full((300, 300, 3), 120, np.uint8)).rename(path)
    with Client(str(gateway.base_url)) as client:
        slide = client.upload(path)
        assert slide.filename == "sl\ufffdde.tif"
        assert client.upload(path).id == slide.id


def test_the_server_takes_a_series_and_a_mirax_slide_and_knows_them_again(
    gateway: httpx.Client, tmp_path: Path
) -> None:
    pixels = np.full((512, 768, 3), 120, np.uint8)
    write_series(tmp_path / "series", pixels)
    with Client(str(gateway.base_url)) as client:
        slide = client.upload(tmp_path / "series")
        assert (slide.vendor, slide.filename) == ("dicom", "series.zip")
        assert (slide.geometry.l0_width, slide.geometry.l0_height, slide.geometry.mpp_x) == (768, 512, 0.5)
        assert client.upload(tmp_path / "series").id == slide.id
        mirax = client.upload(write_mirax(tmp_path, mirax_files(pixels)))
        assert (mirax.vendor, mirax.filename) == ("mirax", "s.mrxs.zip")
