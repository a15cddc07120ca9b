"""The gateway's own loop: expired uploads really go, whatever lies beside them and whatever goes wrong once."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from gateway_fixtures import GatewayWith
from tus_fixtures import WAIT_S, Tus, error_of

from server.uploads import service
from server.uploads.store import UploadStore
from workers.core.settings import Settings
from workers.core.store import new_id


def wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert is_so()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that sweeps all the time."""
    monkeypatch.setattr(service, "SWEEP_S", 0.02)


@pytest.mark.usefixtures("hasty")
def test_the_bytes_of_an_expired_upload_go_by_themselves_and_then_its_name(
    gateway_settings: Settings, gateway_with: GatewayWith
) -> None:
    with gateway_with(gateway_settings) as url, (tus := Tus(url, gateway_settings)).http:
        old, young = tus.new(4, b"II"), tus.new(4, b"II")
        tus.age(old, 1)
        tus.assert_no_bytes(old)
        assert error_of(tus.patch(old, 2, b"*\0")) == (410, "upload_expired")
        with suppress(FileNotFoundError):  # it may be gone before its folder is synced
            tus.age(old, gateway_settings.upload_expires_s + 1)
        wait_for(lambda: not tus.folder(old).exists())
        assert tus.http.get(old).status_code == 404
        assert (tus.folder(young) / "data").read_bytes() == b"II"


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("content", [b"", b'{"version": 7}'])
def test_one_record_that_cannot_be_read_harms_no_other(
    gateway_settings: Settings, gateway_with: GatewayWith, tus_slide: bytes, content: bytes
) -> None:
    bad = gateway_settings.data_dir / "uploads" / new_id()
    bad.mkdir(parents=True)
    (bad / "info.json").write_bytes(content)
    settings = gateway_settings.model_copy(update={"quota_bytes": 10**9, "import_hosts": "a.example"})
    with gateway_with(settings) as url, (tus := Tus(url, settings)).http:
        assert tus.http.get("/v1/uploads").json()["items"] == []
        assert tus.http.get(f"/v1/uploads/{bad.name}").status_code == 404
        old = tus.new(4, b"II")
        tus.age(old, 1)
        tus.assert_no_bytes(old)
        tus.finish(tus.new(len(tus_slide)), tus_slide)
    assert (bad / "info.json").read_bytes() == content  # a person may know what to do with it


@pytest.mark.usefixtures("hasty")
def test_the_loop_outlives_whatever_goes_wrong_in_it(
    gateway_settings: Settings,
    gateway_with: GatewayWith,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    real = UploadStore.expired
    failed: list[str] = []

    def expired(self: UploadStore) -> list[str]:
        if not failed:
            failed.append("once")
            raise ZeroDivisionError
        return real(self)

    monkeypatch.setattr(UploadStore, "expired", expired)
    with gateway_with(gateway_settings) as url, (tus := Tus(url, gateway_settings)).http:
        address = tus.new(4, b"II")
        tus.age(address, 1)
        tus.assert_no_bytes(address)
    assert failed == ["once"]
    assert "the sweep of uploads failed" in caplog.text


@pytest.mark.usefixtures("hasty")
def test_an_expired_upload_that_cannot_be_removed_keeps_no_other(
    gateway_settings: Settings, gateway_with: GatewayWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = UploadStore.drop_bytes
    stuck: set[str] = set()

    def drop_bytes(self: UploadStore, upload_id: str) -> None:
        stuck.add(upload_id)
        if min(stuck) == upload_id:
            raise OSError("this one stays")
        real(self, upload_id)

    monkeypatch.setattr(UploadStore, "drop_bytes", drop_bytes)
    with gateway_with(gateway_settings) as url, (tus := Tus(url, gateway_settings)).http:
        addresses = [tus.new(4, b"II") for _ in range(4)]
        for address in addresses:
            tus.age(address, 1)
        data = [Path(tus.folder(address)) / "data" for address in addresses]
        wait_for(lambda: sum(path.exists() for path in data) == 1)
