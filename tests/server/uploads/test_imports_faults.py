"""Imports when something breaks: many at once, a disk that fails, too little room. Each ends with a word."""

import errno
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_fixtures import GatewayWith
from https_files import Files
from tus_fixtures import WAIT_S, Tus

from server.uploads import imports
from server.uploads.records import Upload
from server.uploads.store import UploadStore
from server.uploads.writer import UploadWriter
from workers.core.settings import Settings
from workers.core.store import new_id

Elsewhere = tuple[str, type[Files]]
Break = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture
def settings(gateway_settings: Settings, elsewhere: Elsewhere) -> Settings:
    return gateway_settings.model_copy(update={"import_hosts": elsewhere[0], "import_private": True})


def ask(tus: Tus, host: str, path: str = "a.tif") -> httpx.Response:
    return tus.http.post("/v1/imports", json={"url": f"https://{host}/{path}"})


def ended(tus: Tus, answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 201, answer.text
    deadline = time.monotonic() + WAIT_S
    while (view := tus.view(answer.headers["location"]))["state"] == "uploading" and time.monotonic() < deadline:
        time.sleep(0.02)
    return view


def test_places_are_taken_before_anybody_is_asked_and_slow_answers_hold_up_nobody_else(
    settings: Settings, gateway_with: GatewayWith, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    most, more = 45, 3  # more than the threads that all requests have in common
    monkeypatch.setattr(imports, "AT_ONCE", most)
    with gateway_with(settings) as url, (tus := Tus(url, settings)).http, ThreadPoolExecutor(most + more) as clients:
        asked = {clients.submit(ask, tus, elsewhere[0], "silent") for _ in range(most + more)}
        refused: set[Future[httpx.Response]] = set()
        while len(refused) < more:
            done, _ = wait(asked - refused, timeout=WAIT_S, return_when=FIRST_COMPLETED)
            assert done
            refused |= done
        assert {answer.result().status_code for answer in refused} == {503}
        assert tus.http.get("/v1/models").status_code == 200
        elsewhere[1].released.set()
        assert sorted(each.result().status_code for each in asked) == [422] * most + [503] * more
        assert len(elsewhere[1].asked) == most
        assert ask(tus, elsewhere[0], "missing").status_code == 422  # every place is free again


def break_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def sync(_: UploadWriter) -> int:
        raise OSError(errno.EIO, "secret detail")

    monkeypatch.setattr(UploadWriter, "sync", sync)


def break_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(_: UploadWriter, block: bytes) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(UploadWriter, "write", write)


@pytest.mark.parametrize("fault", [break_disk, break_code])
@pytest.mark.parametrize("writes", [0, 2])
def test_an_import_ends_with_a_word_whatever_breaks(
    settings: Settings,
    gateway_with: GatewayWith,
    elsewhere: Elsewhere,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: Break,
    writes: int,
) -> None:
    """Also when the word itself cannot be written at first."""
    elsewhere[1].files["/a.tif"] = b"II*\0" * 1000
    monkeypatch.setattr(imports, "RETRY_S", 0.02)
    real = UploadStore.save
    failed: list[str] = []

    def save(self: UploadStore, upload: Upload) -> None:
        if upload.state == "rejected" and len(failed) < writes:
            failed.append(upload.id)
            raise OSError(errno.EIO, "secret detail")
        real(self, upload)

    monkeypatch.setattr(UploadStore, "save", save)
    fault(monkeypatch)
    with gateway_with(settings) as url, (tus := Tus(url, settings)).http:
        answer = ask(tus, elsewhere[0])
        view = ended(tus, answer)
        assert (view["state"], view["error"]["code"]) == ("rejected", "internal_error")
        assert view["error"]["message"].endswith(".")
        assert "secret" not in str(view)
        tus.assert_no_bytes(answer.headers["location"])
    assert len(failed) == writes
    assert "secret detail" in caplog.text


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [({"quota_bytes": 3999}, 429, "quota_exceeded"), ({"disk_reserve_bytes": 2**60}, 507, "disk_full")],
)
def test_an_import_without_room_is_refused_before_its_bytes(
    settings: Settings,
    gateway_with: GatewayWith,
    elsewhere: Elsewhere,
    changes: dict[str, int],
    status: int,
    code: str,
) -> None:
    elsewhere[1].files["/a.tif"] = b"II*\0" * 1000
    tight = settings.model_copy(update=changes)
    with gateway_with(tight) as url, (tus := Tus(url, tight)).http:
        for _ in range(imports.AT_ONCE + 1):  # a refusal keeps no place
            answer = ask(tus, elsewhere[0])
            assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert tus.http.get("/v1/uploads").json()["items"] == []
    assert [path.name for path in (settings.data_dir / "uploads").glob("*")] == []


def test_an_import_that_cannot_be_told_to_be_cut_off_does_not_keep_the_gateway_from_starting(
    settings: Settings, gateway_with: GatewayWith, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    upload_store = UploadStore(settings.data_dir / "uploads", settings)
    expires = upload_store.new_expiry()
    cut = Upload(
        id=new_id(), length=4, filename="a.tif", created_at=expires, expires_at=expires, source="https://a.example/a"
    )
    upload_store.create(cut)

    def drop_bytes(self: UploadStore, upload_id: str) -> None:
        raise OSError(errno.EIO, upload_id)

    monkeypatch.setattr(UploadStore, "drop_bytes", drop_bytes)
    with gateway_with(settings) as url, httpx.Client(base_url=url, trust_env=False) as client:
        assert client.get(f"/v1/uploads/{cut.id}").json()["state"] == "uploading"
    assert f"the import {cut.id}" in caplog.text
    monkeypatch.undo()
    with gateway_with(settings) as url, httpx.Client(base_url=url, trust_env=False) as client:
        assert client.get(f"/v1/uploads/{cut.id}").json()["state"] == "rejected"
    assert not (Path(settings.data_dir) / "uploads" / cut.id / "data").exists()
