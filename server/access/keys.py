"""API keys: `ldk_<id>_<secret>`, of which the server keeps the id and a SHA-256 and nothing more.

    <data>/keys.json      every key there ever was, mode 0600; replaced as a whole, so that nobody reads half of it
    <data>/keys.lock      held by who changes it

A secret is 256 random bits: nothing slower than SHA-256 makes it harder to guess.
"""

import asyncio
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from types import MappingProxyType
from typing import Annotated

from anyio import CapacityLimiter, to_thread
from pydantic import AwareDatetime, Field, ValidationError

from server.access.principals import Principal, Scope
from server.access.private_files import locked, write_private
from workers.core.errors.access import Unauthorized
from workers.core.errors.base import RequestInvalid, Unavailable
from workers.core.frozen import Frozen

FILE, LOCK = "keys.json", "keys.lock"
TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
CHECK_S = 0.5
"""A change of the file is seen at the first request that comes this long after the last look."""

_TOKEN = re.compile(r"ldk_(?P<id>[0-9a-f]{16})_(?P<secret>[0-9a-f]{64})")
_NOBODY = "0" * 64


class Key(Frozen):
    """One key, without its secret."""

    id: str = Field(pattern=r"^[0-9a-f]{16}$")
    name: str = Field(min_length=1, max_length=200, description="For people.")
    tenant: Annotated[str, Field(pattern=rf"^{TENANT.pattern}$")]
    scopes: tuple[Scope, ...] = Field(min_length=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="Of the whole key, in hex.")
    created_at: AwareDatetime
    expires_at: AwareDatetime | None = None
    revoked_at: AwareDatetime | None = None

    def is_usable(self, now: datetime) -> bool:
        """Whether the key opens anything at this moment."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def principal(self) -> Principal:
        """Return who comes with this key."""
        return Principal(self.tenant, frozenset(self.scopes), "key", self.id)


class KeyFile(Frozen):
    """`keys.json`."""

    keys: tuple[Key, ...] = ()


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys of one moment.

    Attributes:
        by_id: Every key, also those that open nothing any more.
    """

    by_id: Mapping[str, Key]

    def __bool__(self) -> bool:
        """Whether there is any key at all: then a key is asked for, even if none opens anything."""
        return bool(self.by_id)

    def has_usable(self, now: datetime, tenant: str | None = None) -> bool:
        """Whether some key, of this tenant if one is given, opens something."""
        return any(key.is_usable(now) and tenant in (None, key.tenant) for key in self.by_id.values())

    def find(self, token: str, now: datetime) -> Principal:
        """Return who comes with this key.

        Raises:
            Unauthorized: Nobody. Only who has the whole key learns that it was revoked or has expired.
        """
        match = _TOKEN.fullmatch(token)
        key = self.by_id.get(match["id"]) if match else None
        # The same comparison whether or not the id is known.
        digest = hashlib.sha256(token.encode()).hexdigest()
        if not hmac.compare_digest(digest, key.sha256 if key else _NOBODY) or key is None:
            raise Unauthorized("The key is not known here.", accepted="a key made by `ldiffusion keys create`")
        if key.revoked_at is not None:
            raise Unauthorized("The key was revoked.", value=key.id)
        if not key.is_usable(now):
            raise Unauthorized("The key has expired.", value=key.id)
        return key.principal()


NO_KEYS = KeySet(MappingProxyType({}))


class Keys:
    """The keys of a data folder, as who administers them sees them. Every method blocks.

    Args:
        data_dir: The data folder.
    """

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / FILE
        self._lock = data_dir / LOCK

    def read(self) -> KeySet:
        """Return all keys; none if there is no file.

        Raises:
            Unavailable: The file is there and cannot be used. Never taken for a file without keys.
        """
        try:
            stored = KeyFile.model_validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return NO_KEYS
        except (OSError, ValidationError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not valid"
            raise Unavailable(f"The file of keys cannot be used: {reason}.", value=self.path.name) from error
        return KeySet(MappingProxyType({key.id: key for key in stored.keys}))

    def create(
        self, name: str, tenant: str, scopes: tuple[Scope, ...], expires_at: datetime | None = None
    ) -> tuple[Key, str]:
        """Make a key.

        Returns:
            The key, and the text that a client sends: this is the only time that it is there.

        Raises:
            RequestInvalid: A field is none that a key can have.
        """
        key_id = secrets.token_hex(8)
        token = f"ldk_{key_id}_{secrets.token_hex(32)}"
        try:
            key = Key(
                id=key_id,
                name=name,
                tenant=tenant,
                scopes=tuple(dict.fromkeys(scopes)),
                sha256=hashlib.sha256(token.encode()).hexdigest(),
                created_at=datetime.now(UTC),
                expires_at=expires_at,
            )
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise RequestInvalid(f"{field}: {first['msg']}.", value=first["input"]) from error
        with locked(self._lock):
            self._write((*self.read().by_id.values(), key))
        return key, token

    def revoke(self, key_id: str) -> Key:
        """Make a key open nothing any more; one that was revoked before stays as it was.

        Raises:
            RequestInvalid: There is no such key.
        """
        with locked(self._lock):
            keys = dict(self.read().by_id)
            if key_id not in keys:
                raise RequestInvalid("No key has this id.", value=key_id, accepted=", ".join(keys) or None)
            if keys[key_id].revoked_at is None:
                keys[key_id] = keys[key_id].model_copy(update={"revoked_at": datetime.now(UTC)})
                self._write(tuple(keys.values()))
        return keys[key_id]

    def _write(self, keys: tuple[Key, ...]) -> None:
        write_private(self.path, KeyFile(keys=keys).model_dump_json(indent=2).encode() + b"\n")


class KeyRing:
    """The keys as a running gateway sees them: at most a moment old, and looked up without touching the disk.

    Args:
        keys: Of the data folder.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._seen: tuple[int, ...] | None = None
        self._held = NO_KEYS
        self._checked_at = float("-inf")
        self._lock = asyncio.Lock()
        self._thread = CapacityLimiter(1)  # of its own: no key waits behind threads that decode tiles

    async def current(self) -> KeySet:
        """Return the keys; about twice a second one request looks whether the file is another one now.

        Raises:
            Unavailable: The file cannot be used; it is tried again with the next request.
        """
        if monotonic() - self._checked_at >= CHECK_S:
            async with self._lock:
                if monotonic() - self._checked_at >= CHECK_S:
                    self._held = await to_thread.run_sync(self._refreshed, limiter=self._thread)
                    self._checked_at = monotonic()
        return self._held

    def _refreshed(self) -> KeySet:
        seen: tuple[int, ...] = ()
        with suppress(FileNotFoundError):
            status = self._keys.path.stat()
            seen = (status.st_ino, status.st_mtime_ns, status.st_size)
        if seen == self._seen:
            return self._held
        held = self._keys.read()
        self._seen = seen
        return held
