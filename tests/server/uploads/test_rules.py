"""Names, extensions and digests of uploads, whatever a client may send."""

import asyncio
import base64
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from catalogue_fixtures import quotas_of
from hypothesis import given
from hypothesis import strategies as st
from made_slides import MadeSlide

from server.intake.admission import Admission
from server.uploads import oneshot
from server.uploads.oneshot import BLOCK_BYTES, Intake, parse_digest
from workers.core.errors.access import QuotaExceeded
from workers.core.errors.base import LDiffusionError, RequestInvalid
from workers.core.errors.intake import SlideSetIncomplete
from workers.core.queue.jobs import Jobs
from workers.core.settings import Settings
from workers.core.slide_schemas import SlideInfo
from workers.core.slides.names import FILENAME_MAX, display_name, extension_of, sniff_extension
from workers.core.store import Store
from workers.core.text import printable


@given(st.text())
def test_a_display_name_is_never_a_path(filename: str) -> None:
    shown = display_name(filename)
    assert shown not in ("", ".", "..")
    assert not set(shown) & set("/\\\0\r\n")
    assert len(shown) <= FILENAME_MAX
    assert display_name(shown) == shown


@given(st.binary(max_size=40), st.text(st.characters(categories=["Cs", "Lu", "Po"]), max_size=10))
def test_any_bytes_of_a_disk_make_a_name_that_can_be_written(on_disk: bytes, lone: str) -> None:
    for name in (os.fsdecode(on_disk), lone):
        assert display_name(name).encode("utf-8")
        assert len(printable(name).encode("utf-8")) >= len(name)
    assert display_name(os.fsdecode(b"sl\xe4de.tif")) == on_disk_as_a_form_has_it(b"sl\xe4de.tif")


def on_disk_as_a_form_has_it(name: bytes) -> str:
    return name.decode("utf-8", errors="replace")


def test_an_upload_whose_name_is_not_utf_8_has_one_that_is_or_is_refused(
    gateway: httpx.Client, made_slide: MadeSlide
) -> None:
    content = made_slide(np.full((300, 300, 3), 200, np.uint8)).read_bytes()
    form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="sl\xe4de.tif"\r\n\r\n%s\r\n--b--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    by_form = gateway.post("/v1/slides", content=form % content, headers=headers)
    bare = gateway.put("/v1/slides?filename=sl%E4de.tif", content=content)
    for answer in (by_form, bare):
        assert answer.status_code == 201, answer.text
        assert answer.json()["filename"] == "sl\ufffdde.tif"
    said = base64.b64encode(b"sl\xe4de.tif").decode()
    tus = {"Tus-Resumable": "1.0.0", "Upload-Length": "5", "Upload-Metadata": f"filename {said}"}
    refused = gateway.post("/v1/uploads", headers=tus)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "header_invalid")
    assert "is no base64 of UTF-8" in refused.json()["error"]["message"]


@given(st.text())
def test_an_extension_is_on_the_list_or_refused(filename: str) -> None:
    try:
        extension = extension_of(display_name(filename))
    except (RequestInvalid, SlideSetIncomplete):
        return
    assert extension in (None, ".svs", ".tif", ".tiff", ".ndpi", ".scn", ".bif", ".svslide", ".dcm", ".zip")


@pytest.mark.parametrize(
    ("head", "extension"),
    [(b"II*\0", ".tif"), (b"MM\0+", ".tif"), (b"\0" * 128 + b"DICM", ".dcm"), (b"PK\3\4", ".zip")],
)
def test_first_bytes_tell_the_format(head: bytes, extension: str) -> None:
    assert sniff_extension(head, "a.any") == extension


@pytest.mark.parametrize("header", ["sha-256=:AAAA:", "sha-256=abc", "sha-256=", "sha-256=:!:", "SHA-256=:AAAA:"])
def test_a_digest_that_is_none_is_refused(header: str) -> None:
    with pytest.raises(LDiffusionError):
        parse_digest(header)


def test_a_digest_is_found_among_others() -> None:
    digest = base64.b64encode(hashlib.sha256(b"x").digest()).decode()
    header = f"md5=:AAAA:, sha-256=:{digest}:"
    assert parse_digest(header) == hashlib.sha256(b"x").hexdigest()
    assert parse_digest(None) is None


# --- what an upload that does not say its size may put on the disk ----------------------------------------------------


def test_bytes_that_were_not_announced_count_while_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oneshot, "ROOM_BYTES", 2 * BLOCK_BYTES)
    settings = Settings(data_dir=tmp_path, quota_bytes=5 * BLOCK_BYTES, disk_reserve_bytes=0)
    quotas = quotas_of(Jobs("unix:///nowhere", settings))
    intake = Intake(store := Store(tmp_path), settings, Admission(store, settings, quotas))
    given = []

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(100):
            given.append(number)
            yield bytes(BLOCK_BYTES)

    async def send_two_at_once() -> tuple[BaseException | SlideInfo, ...]:
        async def send() -> SlideInfo:
            async with quotas.room("lab-a", None) as room:
                return await intake.receive(pieces(), "a.tif", None, room)

        return await asyncio.gather(send(), send(), return_exceptions=True)

    first, second = asyncio.run(send_two_at_once())
    assert isinstance(first, QuotaExceeded)
    assert isinstance(second, QuotaExceeded)
    assert len(given) <= 5 + 2 * (2 + 1)  # the quota, and what each may be ahead of the count
    assert list((tmp_path / "incoming").iterdir()) == []


def test_room_that_was_held_for_what_was_announced_is_not_given_away_on_the_way(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, quota_bytes=100)
    quotas = quotas_of(Jobs("unix:///nowhere", settings))

    async def check() -> None:
        async with quotas.room("lab-a", 80) as room:
            await room.cover(10)
            assert quotas.left("lab-a") == 20
            await room.cover(90)
            assert quotas.left("lab-a") == 10
            await room.fit(70)
            assert (quotas.left("lab-a"), quotas.left("lab-b")) == (30, 100)
        assert quotas.left("lab-a") == 100

    asyncio.run(check())
    assert quotas_of(Jobs("unix:///nowhere", Settings(data_dir=tmp_path))).left("lab-a") is None
