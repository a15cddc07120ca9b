"""Signed links: who may use a key lets somebody without one fetch one thing, for a short time.

    GET <path>?expires=<unix seconds>&tenant=<tenant>&signature=<hex>
    GET <prefix><anything>?expires=…&tenant=…&prefix=<prefix>&signature=…       for the tiles of a viewer

A link does not carry rights of its own: who comes by it sees what the tenant sees, reads only, and only this path.
"""

import hashlib
import hmac
import json
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, quote, urlencode

from pydantic import Field

from server.access.private_files import locked, write_private
from workers.core.errors.access import LinkInvalid
from workers.core.errors.base import RequestInvalid, Unavailable
from workers.core.frozen import Frozen

SECRET_FILE, LOCK = "link.secret", "link.lock"
SECRET_BYTES = 32
PREFIX_PARTS = 3
"""A prefix names one thing at least: `/v1/slides/<id>/`. Nobody signs all of them."""

FIELDS = frozenset({"expires", "tenant", "prefix", "signature"})
"""The query of a link."""


class LinkRequest(Frozen):
    """What a client asks for: a link to a path, or, if it ends with `/`, to all below it."""

    path: str = Field(max_length=2048, examples=["/v1/slides/0f8c…/"])
    life_s: int = Field(default=600, gt=0, description="Seconds until it ends.")


class Link(Frozen):
    """A link that was made."""

    url: str = Field(description="Absolute path and query, on the server's host.")
    query: str = Field(description="The query alone; for a prefix, it goes after the path of whatever is below it.")
    expires: int = Field(description="Unix seconds at which it ends.")


@dataclass(frozen=True, slots=True)
class Links:
    """Makes and checks signed links.

    Args:
        secret: At least 32 bytes.
        max_s: Longest life of a link, also of one that was made when more was allowed.
    """

    secret: bytes
    max_s: int

    def make(self, tenant: str, path: str, life_s: int, *, is_prefix: bool = False, now: float | None = None) -> Link:
        """Return a link to a path, or to everything below a prefix.

        Args:
            tenant: Whose eyes the bearer gets.
            path: Decoded, without a query.
            life_s: Seconds until it ends.
            is_prefix: `path` ends with `/` and stands for what begins with it.
            now: Unix seconds.

        Raises:
            RequestInvalid: The path is none that can be signed, or the life too long.
        """
        if not 1 <= life_s <= self.max_s:
            raise RequestInvalid("life_s: out of range.", value=life_s, accepted=f"1 to {self.max_s} seconds")
        if not path.startswith("/v1/") or not _is_plain(path):
            raise RequestInvalid("path: cannot be signed.", value=path[:200], accepted="a plain path below /v1/")
        if is_prefix and not _is_prefix(path):
            raise RequestInvalid("path: no prefix.", value=path[:200], accepted="/v1/<kind>/<id>/, or below")
        expires = int(time.time() if now is None else now) + life_s
        kind: Literal["prefix", "path"] = "prefix" if is_prefix else "path"
        fields = {"expires": str(expires), "tenant": tenant} | ({"prefix": path} if is_prefix else {})
        fields["signature"] = self._signature(kind, path, tenant, expires)
        query = urlencode(fields)
        return Link(url=f"{quote(path)}?{query}", query=query, expires=expires)

    def tenant_of(self, method: str, path: str, query: str, now: float | None = None) -> str:
        """Return the tenant whose link this is.

        Args:
            method: Of the request; HEAD counts as GET.
            path: Of the request, decoded.
            query: Of the request, as it came.
            now: Unix seconds.

        Raises:
            LinkInvalid: It is altered, incomplete, for another path or method, or past its time.
        """
        fields = _fields(query)
        expires = int(fields["expires"])
        prefix = fields.get("prefix")
        signed = path if prefix is None else prefix
        kind: Literal["prefix", "path"] = "path" if prefix is None else "prefix"
        genuine = hmac.compare_digest(self._signature(kind, signed, fields["tenant"], expires), fields["signature"])
        within = prefix is None or (_is_prefix(prefix) and path.startswith(prefix) and _is_plain(path))
        if not genuine or not within or method not in ("GET", "HEAD"):
            raise LinkInvalid("The link is not one that was made here for this.", accepted="GET of the signed path")
        current = time.time() if now is None else now
        if not current < expires <= current + self.max_s:
            raise LinkInvalid("The link is past its time.", value=fields["expires"], accepted="a new link")
        return fields["tenant"]

    def _signature(self, kind: Literal["prefix", "path"], path: str, tenant: str, expires: int) -> str:
        # JSON: no two different lists are written alike, whatever characters a path holds.
        message = json.dumps(["ldiffusion-link-1", "GET", kind, path, tenant, expires])
        return hmac.new(self.secret, message.encode(), hashlib.sha256).hexdigest()


def is_link(query: str) -> bool:
    """Whether a query claims to be that of a signed link."""
    return "signature" in parse_qs(query, keep_blank_values=True)


def read_secret(data_dir: Path) -> bytes:
    """Return the secret that signs links, made at the first call. Delete the file to end all links.

    Raises:
        Unavailable: The file is there and cannot be used.
    """
    path = data_dir / SECRET_FILE
    with locked(data_dir / LOCK):
        if not path.exists():
            write_private(path, secrets.token_hex(SECRET_BYTES).encode() + b"\n")
    try:
        others = path.stat().st_mode & 0o077
        secret = bytes.fromhex(path.read_text(encoding="ascii"))
    except (OSError, ValueError) as error:
        raise Unavailable("The secret of links cannot be used.", value=path.name) from error
    if others or len(secret) < SECRET_BYTES:
        raise Unavailable(
            "The secret of links is too short, or others can read it.",
            value=path.name,
            accepted=f"{SECRET_BYTES} bytes in hex, mode 0600; or no file, and one is made",
        )
    return secret


def _fields(query: str) -> dict[str, str]:
    given = parse_qs(query, keep_blank_values=True)
    fields = {name: values[0] for name, values in given.items() if name in FIELDS}
    once = all(len(given[name]) == 1 for name in fields)  # of two of a kind, another reader might take the other
    whole = fields.keys() >= FIELDS - {"prefix"}
    if not once or not whole or not _is_number(fields["expires"]) or not fields["signature"].isascii():
        raise LinkInvalid("The link is incomplete.", accepted="expires, tenant and signature, once each")
    return fields


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 12


def _is_prefix(path: str) -> bool:
    return path.endswith("/") and len(path.strip("/").split("/")) >= PREFIX_PARTS


def _is_plain(path: str) -> bool:
    """Whether a path means one place only: nothing in it leads up, or is read differently by another server."""
    parts = path.split("/")[1:]
    inner = parts[:-1] if path.endswith("/") else parts
    return "\\" not in path and all(part not in ("", ".", "..") for part in inner)
