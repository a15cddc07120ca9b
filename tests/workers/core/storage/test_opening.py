"""Settings of a storage: what makes none is told early, and without a secret."""

from pathlib import Path
from typing import Any

import pytest

from workers.core.errors.base import RequestInvalid
from workers.core.settings import Settings
from workers.core.storage.base import Key, StorageSilent
from workers.core.storage.local import LocalStorage
from workers.core.storage.opening import open_storage
from workers.core.storage.s3 import Bucket, S3Storage

SECRET = "hush-hush"
KEYS = {"storage_access_key_id": "AKIDEXAMPLE", "storage_secret_access_key": SECRET}


def test_a_folder_a_bucket_or_nothing(tmp_path: Path) -> None:
    assert open_storage(Settings()) is None
    folder = open_storage(Settings(storage_url=f"file://{tmp_path}/storage"))
    assert isinstance(folder, LocalStorage)
    folder.put(Key("a"), b"1")
    assert (tmp_path / "storage" / "a").read_bytes() == b"1"
    assert isinstance(open_storage(Settings(storage_url="s3://results/lab/1", **KEYS)), S3Storage)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "settings",
    [
        {"storage_url": "results"},
        {"storage_url": "file://host/folder"},
        {"storage_url": "file:folder"},
        {"storage_url": "s3://"},
        {"storage_url": "s3://Bucket"},
        {"storage_url": "s3://a:hush-hush@bucket"},
        {"storage_url": "s3://bucket/a?key=hush-hush"},
        {"storage_url": "s3://bucket/../b"},
        {"storage_url": "s3://bucket/a//b"},
        {"storage_url": "s3://[bucket"},
        {"storage_url": "https://bucket.s3.amazonaws.com"},
        {"storage_url": "s3://bucket", "storage_endpoint": "ftp://host"},
        {"storage_url": "s3://bucket", "storage_endpoint": "https://a:hush-hush@host"},
        {"storage_url": "s3://bucket", "storage_access_key_id": "AKIDEXAMPLE"},
        {"storage_url": "s3://bucket", "storage_secret_access_key": SECRET},
    ],
)
def test_what_makes_no_storage_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(RequestInvalid) as refused:
        open_storage(Settings(**settings))
    assert "storage_" in refused.value.message
    assert SECRET not in str(refused.value.as_dict())


def test_a_secret_is_in_nothing_that_is_said() -> None:
    settings = Settings(storage_url="s3://results", **KEYS)  # type: ignore[arg-type]
    assert SECRET not in repr(settings) + str(settings.model_dump()) + settings.model_dump_json()
    assert SECRET not in repr(Bucket("a", secret_access_key=settings.storage_secret_access_key))


def test_a_service_that_is_not_there_is_told_without_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.core.storage.s3.RETRIES", 0)
    settings = Settings(storage_url="s3://results", storage_endpoint="http://127.0.0.1:9", **KEYS)  # type: ignore[arg-type]
    storage = open_storage(settings)
    assert storage is not None
    for ask in (storage.get, storage.head, storage.delete, storage.delete_prefix, storage.list):
        with pytest.raises(StorageSilent) as silent:
            ask(Key("a"))
        assert "127.0.0.1" not in str(silent.value)
        assert silent.value.__suppress_context__
    with pytest.raises(StorageSilent):
        storage.put(Key("a"), b"1")


def test_a_bucket_that_is_not_there_is_no_missing_object(moto_server: str) -> None:
    settings = Settings(storage_url="s3://nobodys-bucket", storage_endpoint=moto_server, **KEYS)  # type: ignore[arg-type]
    storage = open_storage(settings)
    assert storage is not None
    for ask in (storage.list, lambda: storage.put(Key("a"), b"1"), lambda: storage.delete_prefix(Key("a"))):
        with pytest.raises(StorageSilent, match="bucket"):
            ask()
