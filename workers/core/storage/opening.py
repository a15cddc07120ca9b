"""Which storage the settings name."""

from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from workers.core.errors.base import RequestInvalid
from workers.core.settings import Settings
from workers.core.storage.base import Key, KeyInvalid, Storage, StorageSilent
from workers.core.storage.local import LocalStorage
from workers.core.storage.s3 import BUCKET, Bucket, S3Storage

ACCEPTED = "s3://bucket/prefix, file:///folder, or nothing"


def open_storage(settings: Settings) -> Storage | None:
    """Return the storage of `storage_url`; None if there is none. No service is asked yet.

    Raises:
        RequestInvalid: The settings make no sense. The message holds no part of an address: it may be a secret.
    """
    if not settings.storage_url:
        return None
    try:
        url = urlsplit(settings.storage_url)
    except ValueError:
        raise RequestInvalid("storage_url: that is no address.", accepted=ACCEPTED) from None
    if url.query or url.fragment or "@" in url.netloc:
        raise RequestInvalid("storage_url: it has no password, query or fragment.", accepted=ACCEPTED)
    if url.scheme == "file" and not url.netloc and url.path.startswith("/"):
        return LocalStorage(Path(url.path))
    if url.scheme != "s3" or not BUCKET.fullmatch(url.netloc):
        raise RequestInvalid("storage_url: that is no storage.", value=url.scheme, accepted=ACCEPTED)
    return _open_s3(url, settings)


def _open_s3(url: SplitResult, settings: Settings) -> Storage:
    prefix = url.path.strip("/")
    endpoint = settings.storage_endpoint.rstrip("/")
    if endpoint and (urlsplit(endpoint).scheme not in ("http", "https") or "@" in endpoint):
        raise RequestInvalid("storage_endpoint: that is no address.", accepted="https://host:port, without a password")
    keys = settings.storage_access_key_id, settings.storage_secret_access_key
    if bool(keys[0]) != bool(keys[1].get_secret_value()):
        raise RequestInvalid("storage_access_key_id and storage_secret_access_key: one is missing.", accepted="both")
    try:
        if prefix:
            Key(prefix)
        return S3Storage(Bucket(url.netloc, prefix, endpoint, settings.storage_region, *keys))
    except KeyInvalid:
        raise RequestInvalid("storage_url: its prefix is none.", accepted=ACCEPTED) from None
    except StorageSilent as error:
        raise RequestInvalid(f"storage_url: {error.strerror}.", accepted=ACCEPTED) from None
