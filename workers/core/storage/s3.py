"""A storage in a bucket of S3, or of whoever speaks its protocol, by obstore.

Large objects are put in parts; the service shows them once all are there. Parts of a writer that died stay hidden in
the bucket, and are for a lifecycle rule of the bucket to remove. What goes wrong is told without the service's own
words: they may hold addresses and what signs them.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from workers.core.storage.base import PAGE, Key, RangeInvalid, Storage, StorageSilent, Stored, checked_range

if TYPE_CHECKING:
    from obstore.store import S3Credential, S3Store

PUT_PART_BYTES = 16 * 2**20
PARTS_MAX = 10_000
"""As many parts as S3 lets an object have."""
PARTS_AT_ONCE = 4
CONNECT_S = 5.0
SILENCE_S = 30.0
REQUEST_S = 300.0
RETRY_S = 60.0
RETRIES = 5
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,62}")


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where a bucket is, and with what right it is used.

    What is empty is looked for where AWS's own programs look: `AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, `AWS_REGION` and
    the like, the role of the machine.
    """

    name: str
    prefix: str = ""
    endpoint: str = ""
    """`https://…` of a service that is not AWS's; by `http://…` everybody on the way reads along."""
    region: str = ""
    access_key_id: str = ""
    secret_access_key: SecretStr | None = None


def open_bucket(bucket: Bucket) -> "S3Store":
    """Return obstore's client of a bucket. Nothing is asked yet.

    Raises:
        StorageSilent: There cannot be such a client.
    """
    from obstore.exceptions import BaseError  # noqa: PLC0415  15 MB that few servers need
    from obstore.store import S3Store  # noqa: PLC0415

    told: dict[str, Any] = {"prefix": bucket.prefix or None}
    if bucket.region:
        told["region"] = bucket.region
    if bucket.endpoint:  # by both names: the environment's `AWS_ENDPOINT_URL_S3` would win over the one
        told |= {"endpoint": bucket.endpoint, "aws_endpoint_url_s3": bucket.endpoint}
        told |= {"virtual_hosted_style_request": False, "s3_express": False}
    if bucket.access_key_id:  # as a provider: a token of the environment would be joined to bare keys
        told |= {"credential_provider": partial(_keys_of, bucket), "skip_signature": False, "request_payer": False}
    try:
        return S3Store(
            bucket.name,
            client_options={
                "allow_http": urlsplit(bucket.endpoint).scheme == "http",
                "connect_timeout": timedelta(seconds=CONNECT_S),
                "read_timeout": timedelta(seconds=SILENCE_S),
                "timeout": timedelta(seconds=REQUEST_S),
            },
            retry_config={"max_retries": RETRIES, "retry_timeout": timedelta(seconds=RETRY_S)},
            **told,
        )
    except (BaseError, ValueError) as error:
        raise StorageSilent(f"the settings of the bucket make no client: {type(error).__name__}") from None


def _keys_of(bucket: Bucket) -> "S3Credential":
    secret = bucket.secret_access_key
    return {
        "access_key_id": bucket.access_key_id,
        "secret_access_key": secret.get_secret_value() if secret is not None else "",
        "token": None,
        "expires_at": None,
    }


def signed_get(bucket: Bucket, key: str, expires_s: float) -> str:
    """Return an address that gives an object to whoever asks within this time. Nobody is asked for it.

    Args:
        bucket: With an endpoint and keys of its own.
        key: As the service has it; no part of it may be empty or of dots.
        expires_s: From now on.

    Raises:
        StorageSilent: It cannot be signed.
    """
    import obstore  # noqa: PLC0415

    with _told(key):
        return str(obstore.sign(open_bucket(bucket), "GET", key, timedelta(seconds=expires_s)))


class S3Storage(Storage):
    """Objects of a bucket, below a prefix of it.

    Args:
        bucket: Where, and with what right.
    """

    def __init__(self, bucket: Bucket) -> None:
        import obstore  # noqa: PLC0415

        self._obstore = obstore
        self._store = open_bucket(bucket)

    def put(self, key: Key, data: bytes | Path) -> Stored:
        """See `Storage.put`."""
        size = len(data) if isinstance(data, bytes) else data.stat().st_size
        part_bytes = max(PUT_PART_BYTES, -(-size // PARTS_MAX))
        with _of_bucket(), _told(key):
            done = self._obstore.put(self._store, key, data, chunk_size=part_bytes, max_concurrency=PARTS_AT_ONCE)
        return Stored(key, size, _bare(done["e_tag"]))

    def get(self, key: Key) -> bytes:
        """See `Storage.get`."""
        with _told(key):
            return self._obstore.get(self._store, key).bytes().to_bytes()

    def range(self, key: Key, start: int, stop: int) -> bytes:
        """See `Storage.range`."""
        if not 0 <= start < stop:
            raise RangeInvalid(f"{key}: no bytes {start} to {stop}.")
        try:
            with _told(key):
                return self._obstore.get_range(self._store, key, start=start, end=stop).to_bytes()
        except StorageSilent:
            checked_range(key, start, stop, self.head(key).size_bytes)  # a service says nothing clear of such a range
            raise

    def head(self, key: Key) -> Stored:
        """See `Storage.head`."""
        with _told(key):
            found = self._obstore.head(self._store, key)
        return Stored(key, found["size"], _bare(found["e_tag"]))

    def list(self, prefix: Key | None = None, after: Key | None = None, limit: int = PAGE) -> list[Stored]:
        """See `Storage.list`."""
        with _of_bucket(), _told(prefix or "/"):
            pages = self._obstore.list(self._store, prefix, offset=after, chunk_size=min(limit, PAGE))
            found = list(islice(chain.from_iterable(pages), limit))
        return [Stored(Key(each["path"]), each["size"], _bare(each["e_tag"])) for each in found]

    def delete(self, key: Key) -> None:
        """See `Storage.delete`."""
        with _told(key):
            self._obstore.delete(self._store, key)

    def delete_prefix(self, prefix: Key) -> None:
        """See `Storage.delete_prefix`."""
        while page := self.list(prefix):
            with _told(prefix):
                self._obstore.delete(self._store, [each.key for each in page])

    def signed_url(self, key: Key, expires_s: float) -> str | None:
        """See `Storage.signed_url`."""
        with _told(key):
            return str(self._obstore.sign(self._store, "GET", key, timedelta(seconds=expires_s)))


def _bare(etag: str | None) -> str:
    return (etag or "").strip('"')


@contextmanager
def _of_bucket() -> Iterator[None]:
    """Tell of what asks for no object that there is no bucket."""
    try:
        yield
    except FileNotFoundError:
        raise StorageSilent("there is no such bucket") from None


@contextmanager
def _told(key: str) -> Iterator[None]:
    """Tell what goes wrong as a disk would, and without the service's words."""
    from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError  # noqa: PLC0415

    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(2, "no such object", key) from None
    except (PermissionDeniedError, UnauthenticatedError):
        raise StorageSilent("the service of the bucket refuses this key") from None
    except BaseError as error:
        raise StorageSilent(f"the service of the bucket fails: {type(error).__name__}") from None
