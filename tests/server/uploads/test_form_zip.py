"""Slides of several files in one form: the zip that the server makes of it, and the slide that comes of that."""

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import httpx
import numpy as np
import openslide
import pytest
from dicom_series import write_series
from hypothesis import given
from hypothesis import strategies as st
from mirax_slide import mirax_files

from server.uploads import form_zip
from workers.core.errors.base import LDiffusionError, RequestInvalid, UploadIncomplete
from workers.core.settings import Settings
from workers.core.store import Store

FORM = "multipart/form-data; boundary=b"
Files = list[tuple[str, bytes]]


def form_of(files: Files) -> bytes:
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode() + content + b"\r\n"
        for name, content in files
    ]
    return b"".join(parts) + b"--b--\r\n"


def zip_of(body: bytes, cuts: list[int]) -> tuple[str, bytes]:
    """The zip of a form whose body comes in pieces cut at these places."""
    places = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]

    async def pieces() -> AsyncIterator[bytes]:
        for start, end in pairwise(places):
            yield body[start:end]

    async def made() -> tuple[str, bytes]:
        name, content = await form_zip.read_form_zip(FORM, pieces())
        return name, b"".join([each async for each in content])

    return asyncio.run(made())


names = st.text("abz019 ._ä/", min_size=1, max_size=20).filter(lambda name: not name.endswith("/"))
contents = st.binary(max_size=300).map(lambda content: content.replace(b"--b", b""))


@given(
    st.lists(st.tuples(names, contents), min_size=1, max_size=5, unique_by=lambda file: file[0]),
    st.lists(st.integers(0)),
)
def test_the_zip_holds_the_files_of_the_form_in_its_order(files: Files, cuts: list[int]) -> None:
    name, content = zip_of(form_of(files), cuts)
    assert name == f"{Path(files[0][0]).stem}.zip"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert [(each.filename, archive.read(each)) for each in archive.infolist()] == files
    assert zip_of(form_of(files), [])[1] == content


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (form_of([("a.dcm", b"1"), ("a.dcm", b"2")]), RequestInvalid),
        (form_of([("a.dcm", b"1"), ("", b"2")]), RequestInvalid),
        (form_of([("a/", b"1")]), RequestInvalid),
        (form_of([("a.dcm", b"1"), ("b.dcm", b"2")])[:-9], UploadIncomplete),
        (b"--b--\r\n", RequestInvalid),
        (form_of([(f"{n:03}" + "x" * 3000, b"") for n in range(60)]), RequestInvalid),
    ],
)
def test_a_form_that_makes_no_slide_is_refused(body: bytes, kind: type[LDiffusionError]) -> None:
    with pytest.raises(kind):
        zip_of(body, [40])


def test_a_form_of_too_many_files_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form_zip, "ENTRIES_MAX", 3)
    zip_of(form_of([(str(n), b"x") for n in range(3)]), [])
    with pytest.raises(RequestInvalid, match="too many"):
        zip_of(form_of([(str(n), b"x") for n in range(4)]), [])


@pytest.mark.parametrize(("kind", "mpp"), [("mirax", 0.25), ("dicom", 0.5)])
def test_loose_files_are_a_slide(
    gateway: httpx.Client, gateway_settings: Settings, tmp_path: Path, kind: str, mpp: float
) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (512, 768, 3), np.uint8)
    if kind == "mirax":
        files = mirax_files(pixels, mpp=mpp)
    else:
        files = {path.name: path.read_bytes() for path in write_series(tmp_path, pixels)}
    answer = gateway.post("/v1/slides/sets", files=[("file", (name, content)) for name, content in files.items()])
    assert answer.status_code == 201, answer.text
    info = answer.json()
    assert (info["vendor"], info["geometry"]["mpp_x"]) == (kind, mpp)
    with openslide.OpenSlide(Store(gateway_settings.data_dir).slide_file(info["id"])) as slide:
        found = np.asarray(slide.read_region((0, 0), 0, slide.dimensions))[..., :3]
    np.testing.assert_array_equal(found, pixels)


@pytest.mark.parametrize("name", ["../original.mrxs", "/etc/cron.d/x", "slide/../../x.dat", "CON.dat"])
def test_the_guards_of_archives_hold_here(gateway: httpx.Client, gateway_settings: Settings, name: str) -> None:
    files = [("file", ("slide.mrxs", b"x")), ("file", (name, b"x"))]
    answer = gateway.post("/v1/slides/sets", files=files)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "archive_refused")
    assert list(Store(gateway_settings.data_dir).list_slides()) == []
