"""The check of complete uploads when it fails for reasons that are not the file's."""

import asyncio
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from catalogue_fixtures import quotas_of

from server.intake.admission import Admission, Received
from server.uploads.finalize import Finalizer
from server.uploads.records import Upload
from server.uploads.store import UploadStore
from workers.core.errors.base import DiskFull, SlideUnreadable, StorageFault
from workers.core.frozen import LOCAL_TENANT
from workers.core.queue.jobs import Jobs
from workers.core.settings import Settings
from workers.core.slide_schemas import SlideInfo
from workers.core.store import Store, new_id

CONTENT = b"II*\0 and so on"


class Acting(Admission):
    """An admission that does what a test says instead of probing."""

    def __init__(self, store: Store, settings: Settings, act: Callable[[Received], None]) -> None:
        super().__init__(store, settings, quotas_of(Jobs("unix:///nowhere", settings)))
        self._act = act
        self.calls = 0
        self.begun = asyncio.Event()

    async def admit(self, slide_id: str, file: Path, received: Received, folder: Path) -> SlideInfo:
        self.calls += 1
        self.begun.set()
        self._act(received)
        await asyncio.Event().wait()  # a probe that takes for ever
        raise AssertionError


class Scene:
    """A complete upload, and a checking whose admission acts."""

    def __init__(self, folder: Path, act: Callable[[Received], None]) -> None:
        settings = Settings(data_dir=folder)
        store = Store(folder)
        self.upload_store = UploadStore(folder / "uploads", settings)
        self.admission = Acting(store, settings, act)
        self.finalizer = Finalizer(self.upload_store, store, self.admission)
        self.upload = self.complete()

    def complete(self, tenant: str = LOCAL_TENANT, minutes: float = 0) -> Upload:
        """Make an upload that is complete, so many minutes after now."""
        now = datetime.now(UTC) + timedelta(minutes=minutes)
        size = len(CONTENT)
        upload = Upload(
            id=new_id(), state="checking", length=size, offset=size, filename="a.tif", created_at=now, expires_at=now
        ).model_copy(update={"expires_at": now + timedelta(days=1), "tenant": tenant})
        self.upload_store.create(upload)
        self.upload_store.data_file(upload.id).write_bytes(CONTENT)
        return upload

    async def sweep(self, times: int) -> Upload:
        """Have what is complete checked so many times, each to its end; return the upload."""
        for _ in range(times):
            await self.finalizer.resume()
            await asyncio.gather(*self.finalizer._tasks.values(), return_exceptions=True)
            await asyncio.sleep(0)  # the tasks' ends are noted
        return self.upload_store.read(self.upload.id)


def fail(error: Exception) -> Callable[[Received], None]:
    def act(received: Received) -> None:
        assert received.sha256 == hashlib.sha256(CONTENT).hexdigest()
        raise error

    return act


def test_a_check_that_crashes_is_tried_again_and_then_given_up_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene(tmp_path, fail(ZeroDivisionError("secret detail")))
    upload = asyncio.run(scene.sweep(3))
    assert upload.state == "checking"
    upload = asyncio.run(scene.sweep(2))
    assert upload.state == "rejected"
    assert upload.error is not None
    assert upload.error.code == "internal_error"
    assert "secret" not in upload.model_dump_json()
    assert "secret detail" in caplog.text
    assert scene.admission.calls == 3


def test_a_full_disk_is_waited_for(tmp_path: Path) -> None:
    scene = Scene(tmp_path, fail(DiskFull("No room.")))
    assert asyncio.run(scene.sweep(5)).state == "checking"
    assert scene.admission.calls == 5


def test_a_storage_that_does_not_answer_is_waited_for(tmp_path: Path) -> None:
    scene = Scene(tmp_path, fail(StorageFault("The storage does not work.")))
    assert asyncio.run(scene.sweep(5)).state == "checking"
    assert scene.admission.calls == 5


def test_a_stop_ends_the_checks_and_they_stay_to_be_done(tmp_path: Path) -> None:
    scene = Scene(tmp_path, lambda received: None)

    async def stop_in_the_middle() -> None:
        await scene.finalizer.resume()
        await scene.finalizer.resume()  # one check of one upload
        await scene.admission.begun.wait()
        await scene.finalizer.stop()
        await scene.finalizer.resume()
        assert scene.finalizer._tasks == {}

    asyncio.run(stop_in_the_middle())
    assert scene.admission.calls == 1
    assert scene.upload_store.read(scene.upload.id).state == "checking"
    assert scene.upload_store.data_file(scene.upload.id).read_bytes() == CONTENT


def test_many_uploads_of_one_tenant_hold_up_the_check_of_no_other(tmp_path: Path) -> None:
    order: list[str] = []

    def refuse(received: Received) -> None:
        order.append(received.tenant)
        raise SlideUnreadable("That is no slide.")

    async def check_in_the_order_they_came() -> None:
        for tenant in ("lab-a", "lab-a", "lab-a", "lab-a", "lab-b"):
            scene.finalizer.start(scene.complete(tenant))
        await asyncio.gather(*scene.finalizer._tasks.values())

    scene = Scene(tmp_path, refuse)
    asyncio.run(check_in_the_order_they_came())
    assert order.index("lab-b") <= 3  # two were under way already, and one may have had its turn first
    assert sorted(order) == ["lab-a"] * 4 + ["lab-b"]
