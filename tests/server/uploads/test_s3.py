"""Named buckets: keys stay within their prefix, connectors with their tenants, secrets out of what is said."""

from pathlib import Path

import pytest
from https_files import CONNECTOR, SECRET

from server.uploads.s3 import Connector, read_connectors, source_of
from workers.core.errors.base import RequestInvalid
from workers.core.errors.intake import ImportRefused


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
    assert source_of("archive", "a.tif", "lab-a", known).url == "https://s3.example/slides/research/a.tif"
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
