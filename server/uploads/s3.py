"""Named S3 buckets from which slides may be fetched, as the operator put them down in a TOML file."""

import tomllib
from pathlib import Path
from urllib.parse import quote, urlsplit

from pydantic import Field, SecretStr, TypeAdapter, ValidationError

from server.uploads.fetch import Source
from server.web.egress import HTTPS_PORT, Egress
from workers.core.errors.base import RequestInvalid
from workers.core.errors.intake import ImportRefused
from workers.core.frozen import Frozen


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
    headers = signed_headers(connector, target.netloc, path)
    return Source(url=connector.endpoint + path, egress=egress, label=f"{name}:{key}", headers=headers)


def signed_headers(connector: Connector, host: str, path: str) -> dict[str, str]:
    """Return the headers that sign a GET of a path (AWS Signature Version 4)."""
    from awscrt import auth  # noqa: PLC0415  13 MB that few servers need
    from awscrt.http import HttpHeaders, HttpRequest  # noqa: PLC0415

    request = HttpRequest("GET", path, HttpHeaders([("host", host)]))
    secret = connector.secret_access_key.get_secret_value()
    config = auth.AwsSigningConfig(
        algorithm=auth.AwsSigningAlgorithm.V4,
        signature_type=auth.AwsSignatureType.HTTP_REQUEST_HEADERS,
        credentials_provider=auth.AwsCredentialsProvider.new_static(connector.access_key_id, secret),
        region=connector.region,
        service="s3",
        use_double_uri_encode=False,
        should_normalize_uri_path=False,
        signed_body_value=auth.AwsSignedBodyValue.EMPTY_SHA256,
        signed_body_header_type=auth.AwsSignedBodyHeaderType.X_AMZ_CONTENT_SHA_256,
    )
    signed = auth.aws_sign_request(request, config).result(timeout=10)
    return {name: value for name, value in signed.headers if name.lower() != "host"}
