"""Named buckets: keys stay within their prefix, connectors with their tenants, secrets out of what is said."""

from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from https_files import CONNECTOR, SECRET

from server.uploads.s3 import Connector, read_connectors, source_of
from workers.core.errors.base import RequestInvalid
from workers.core.errors.intake import ImportRefused

SIGNED = ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature")


@pytest.mark.parametrize("key", ["../other/a.tif", "a/../../b.tif", "./a.tif", "/a.tif", "a//b.tif", "a/", ".."])
def test_a_key_stays_within_its_prefix(tmp_path: Path, key: str) -> None:
    path = tmp_path / "connectors.toml"
    path.write_text(CONNECTOR.format(host="s3.example", secret=SECRET, private="false", tenants="[]"))
    with pytest.raises(ImportRefused, match="dots"):
        source_of("archive", key, "lab-a", read_connectors(path))


def test_a_connector_may_be_some_tenants_own(tmp_path: Path) -> None:
    path = tmp_path / "connectors.toml"
    path.write_text(CONNECTOR.format(host="s3.example", secret=SECRET, private="false", tenants='["lab-a"]'))
    known = read_connectors(path)
    source = source_of("archive", "a.tif", "lab-a", known)
    assert source.url.startswith("https://s3.example/slides/research/a.tif?X-Amz-")
    assert "X-Amz" not in repr(source)
    with pytest.raises(ImportRefused) as refused:
        source_of("archive", "a.tif", "lab-b", known)
    with pytest.raises(ImportRefused) as missing:
        source_of("archive", "a.tif", "lab-a", {})
    assert refused.value.as_dict() == missing.value.as_dict()
    assert SECRET not in repr(known)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("https://", "http://"),
        ('region = "eu-central-1"', ""),
        ("[archive]", "[archive"),
        ("https://s3.example", "https://s3.example/path"),
        ('bucket = "slides"', 'bucket = "../x"'),
    ],
)
def test_a_file_of_connectors_that_makes_no_sense_is_told_without_its_secrets(
    tmp_path: Path, old: str, new: str
) -> None:
    path = tmp_path / "connectors.toml"
    text = CONNECTOR.format(host="s3.example", secret=SECRET, private="false", tenants="[]")
    path.write_text(text.replace(old, new))
    with pytest.raises(RequestInvalid) as refused:
        read_connectors(path)
    assert SECRET not in str(refused.value.as_dict())
    path.write_text(text)
    assert isinstance(read_connectors(path)["archive"], Connector)
    assert read_connectors(tmp_path / "absent.toml") == {}


@pytest.mark.parametrize(
    "key", ["a.tif", "case 7+.tif", "ü/日本 (1).svs", "100%41#?&=;,$@!*'.tif", 'a~b"<>|^`{}[].tif']
)
def test_what_is_signed_is_what_is_asked_for_whatever_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """The library reads AWS's variables; of one that leads elsewhere nothing may come, not even a refusal."""
    path = tmp_path / "connectors.toml"
    path.write_text(CONNECTOR.format(host="s3.example:9000", secret=SECRET, private="false", tenants="[]"))
    for name in ("ENDPOINT_URL", "ENDPOINT_URL_S3", "ENDPOINT", "STS_ENDPOINT", "METADATA_ENDPOINT"):
        monkeypatch.setenv(f"AWS_{name}", "https://evil.example")
    for name in ("SKIP_SIGNATURE", "VIRTUAL_HOSTED_STYLE_REQUEST", "S3_EXPRESS", "REQUESTER_PAYS", "REQUEST_PAYER"):
        monkeypatch.setenv(f"AWS_{name}", "true")
    for name in ("SESSION_TOKEN", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "REGION", "DEFAULT_REGION", "BUCKET"):
        monkeypatch.setenv(f"AWS_{name}", "of-the-environment")
    url = urlsplit(source_of("archive", key, "lab-a", read_connectors(path)).url)
    assert (url.scheme, url.netloc) == ("https", "s3.example:9000")
    assert url.path == "/slides/research/" + quote(key, safe="/~-._")
    fields = dict(part.split("=") for part in url.query.split("&"))
    assert fields.keys() == {f"X-Amz-{name}" for name in SIGNED}
    assert fields["X-Amz-Credential"].startswith("AKIDEXAMPLE%2F")
    assert fields["X-Amz-Credential"].endswith("%2Feu-central-1%2Fs3%2Faws4_request")
    assert int(fields["X-Amz-Expires"]) <= 60


@pytest.mark.parametrize(
    "signed", ["https://evil.example/slides/research/a.tif?X", "https://s3.example/slides/a.tif?X"]
)
def test_an_address_that_was_changed_by_its_signature_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signed: str
) -> None:
    path = tmp_path / "connectors.toml"
    path.write_text(CONNECTOR.format(host="s3.example", secret=SECRET, private="false", tenants="[]"))
    monkeypatch.setattr("server.uploads.s3.signed_get", lambda *_: signed)
    with pytest.raises(ImportRefused, match="as it is"):
        source_of("archive", "a.tif", "lab-a", read_connectors(path))
