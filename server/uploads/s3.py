"""Named S3 buckets from which slides may be fetched, as the operator put them down in a TOML file."""

import tomllib
from pathlib import Path
from urllib.parse import quote, urlsplit

from pydantic import Field, SecretStr, TypeAdapter, ValidationError

from server.uploads.fetch import ANSWER_S, Source
from server.web.egress import HTTPS_PORT, Egress
from workers.core.errors.base import RequestInvalid
from workers.core.errors.intake import ImportRefused
from workers.core.frozen import Frozen
from workers.core.storage.s3 import Bucket, signed_get

SIGNED_S = 2 * ANSWER_S
"""How long a signature is good; the head of the answer comes sooner, or not at all."""


class Connector(Frozen):
    """One bucket, or a part of it."""

    endpoint: str = Field(pattern=r"^https://[^/?#@\s]+$", description="Address of the S3 service, without a path.")
    region: str
    bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,62}$")
    prefix: str = Field(default="", description="What every key begins with; nobody reaches others.")
    access_key_id: str
    secret_access_key: SecretStr
    tenants: tuple[str, ...] = Field(default=(), description="Who may use it; empty: everybody.")
    private: bool = Field(default=False, description="Its address may be one that is not public.")


def read_connectors(path: Path) -> dict[str, Connector]:
    """Return the connectors of a file by their names; none if there is no file.

    Raises:
        RequestInvalid: The file makes no sense.
    """
    if not path.is_file():
        return {}
    try:
        return TypeAdapter(dict[str, Connector]).validate_python(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RequestInvalid("import_connectors: the file is no TOML.", value=error) from error
    except ValidationError as error:
        first = error.errors()[0]  # never the input: it may be a secret
        where = ".".join(map(str, first["loc"]))
        raise RequestInvalid(f"import_connectors: {where}: {first['msg']}.", accepted="see docs/uploads.md") from error


def source_of(name: str, key: str, tenant: str, connectors: dict[str, Connector]) -> Source:
    """Return a key of a connector as a signed source.

    Raises:
        ImportRefused: There is no connector of this name for this tenant, or the key leads elsewhere.
    """
    connector = connectors.get(name)
    if connector is None or (connector.tenants and tenant not in connector.tenants):
        raise ImportRefused("There is no connector of this name.", value=name, accepted="one that the operator made")
    whole = connector.prefix + key
    if any(part in ("", ".", "..") for part in whole.split("/")):
        raise ImportRefused("key: it has an empty part, or one of dots.", value=key, accepted="folder/slide.svs")
    target = urlsplit(connector.endpoint)
    path = f"/{connector.bucket}/{quote(whole, safe='/~-._')}"
    egress = Egress(
        field="import.connector",
        hosts=f"{target.hostname}:{target.port or HTTPS_PORT}",
        private=connector.private,
        refusal=ImportRefused,
        off="",
        instead="",
    )
    url = connector.endpoint + path
    egress.parse_url(url)  # unsigned: what is refused is shown
    return Source(url=signed(connector, whole, url), egress=egress, label=f"{name}:{key}")


def signed(connector: Connector, key: str, url: str) -> str:
    """Return the address of a key with a signature in its query (AWS Signature Version 4).

    Args:
        connector: Whose keys sign.
        key: The whole key.
        url: Its address.

    Raises:
        ImportRefused: It cannot be signed, or only another address: the environment, or the service's library, changed
            what is asked for.
    """
    keys = connector.access_key_id, connector.secret_access_key
    bucket = Bucket(connector.bucket, "", connector.endpoint, connector.region, *keys)
    try:
        address = signed_get(bucket, key, SIGNED_S)
    except OSError as error:
        raise ImportRefused("The address of this file cannot be signed.", value=type(error).__name__) from error
    if _place_of(address) != _place_of(url):
        raise ImportRefused("key: it cannot be asked for as it is.", value=key[:200], accepted="folder/slide.svs")
    return address


def _place_of(url: str) -> tuple[str, str | None, int, str]:
    """Return all of an address but its query."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or HTTPS_PORT, parts.path
