"""By what a file is taken for a slide, and what the log says of it."""

import asyncio
import hashlib
import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tifffile
from catalogue_fixtures import quotas_of
from PIL import Image
from stored_slides import info_of

from server.intake.admission import Admission, Received
from workers.core.errors.base import RequestInvalid
from workers.core.queue.jobs import Jobs
from workers.core.settings import Settings
from workers.core.store import Store, new_id


def test_the_log_says_once_that_openslide_does_not_take_a_slide(
    jobs: Jobs, queue_settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    admission = Admission(jobs.store, queue_settings, quotas_of(jobs))
    slides: dict[str, dict[str, Any]] = {"openslide": {"tile": (64, 64)}, "tiffslide": {"rowsperstrip": 64}}
    ids = []
    for backend, layout in slides.items():
        part = tmp_path / f"{backend}.part"
        tifffile.imwrite(part, np.zeros((128, 128, 3), np.uint8), photometric="rgb", metadata=None, **layout)
        with jobs.store.incoming() as folder:
            received = Received("s.tif", part.stat().st_size, hashlib.sha256(part.read_bytes()).hexdigest())
            info = asyncio.run(admission.admit(new_id(), part, received, folder))
        assert info.backend == backend
        ids.append(info.id)
    said = [record.getMessage() for record in caplog.records if "openslide does not take it" in record.getMessage()]
    assert said == [f"slide {ids[1]} is read by tiffslide: openslide does not take it"]


@pytest.mark.parametrize("filename", ["a.exe", "a.zip.svg", "a.jpg", "a.czi"])
def test_bytes_of_no_slide_are_refused_under_any_name(gateway: httpx.Client, filename: str) -> None:
    answer = gateway.put("/v1/slides", params={"filename": filename}, content=b"MZ\x90\0" * 100)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["value"]) == (422, "invalid_request", filename)
    assert "Neither the name nor the bytes" in error["message"]
    assert "TIFF, DICOM or zip" in error["accepted"]


def test_zeiss_czi_is_refused_by_name_and_a_png_is_taken_as_a_slide_without_mpp(gateway: httpx.Client) -> None:
    refused = gateway.put("/v1/slides", params={"filename": "a.czi"}, content=b"ZISRAWFILE" + bytes(600))
    assert (refused.status_code, refused.json()["error"]["message"][:9]) == (422, "Zeiss CZI")
    png = io.BytesIO()
    Image.fromarray(np.full((64, 80, 3), 200, np.uint8)).save(png, "PNG")
    taken = gateway.put("/v1/slides", params={"filename": "a.png"}, content=png.getvalue())
    assert taken.status_code == 201, taken.text
    assert (taken.json()["vendor"], taken.json()["geometry"]["mpp_x"]) == ("picture", None)


@pytest.mark.parametrize("filename", ["a.qptiff", "a.btf", "a.TF8", "biopsy 2.of 3"])
def test_the_bytes_decide_where_the_extension_is_not_known(
    gateway: httpx.Client, gateway_settings: Settings, cmu_slide: Path, filename: str
) -> None:
    answer = gateway.put("/v1/slides", params={"filename": filename}, content=cmu_slide.read_bytes())
    assert answer.status_code == 201, answer.text
    info = answer.json()
    assert (info["filename"], info["vendor"]) == (filename, "aperio")
    assert Store(gateway_settings.data_dir).slide_file(info["id"]).name == "original.tif"


def test_a_set_with_a_name_that_no_storage_takes_is_refused_and_nothing_of_it_stays(
    queue_settings: Settings, tmp_path: Path
) -> None:
    settings = queue_settings.model_copy(update={"storage_url": f"file://{tmp_path}/storage"})
    jobs = Jobs(settings.redis_url, settings)
    with jobs.store.incoming() as folder:
        (folder / "original").mkdir()
        (folder / "original.mrxs").write_bytes(b"index")
        (folder / "original" / ("a" * 220)).write_bytes(b"data")
        with pytest.raises(RequestInvalid, match="too long for the storage"):
            Admission(jobs.store, settings, quotas_of(jobs))._publish(info_of(9, "0" * 64), tmp_path / "came", folder)
    assert jobs.store.storage is not None
    assert list(jobs.store.storage.walk()) == []
    jobs.close()
