"""Names, extensions and digests of uploads, whatever a client may send."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.slide_names import FILENAME_MAX, display_name, extension_of, sniff_extension
from server.uploads import parse_digest
from workers.core.errors import LDiffusionError, RequestInvalid
from workers.core.intake_errors import SlideSetIncomplete


@given(st.text())
def test_a_display_name_is_never_a_path(filename: str) -> None:
    shown = display_name(filename)
    assert shown not in ("", ".", "..")
    assert not set(shown) & set("/\\\0\r\n")
    assert len(shown) <= FILENAME_MAX
    assert display_name(shown) == shown


@given(st.text())
def test_an_extension_is_on_the_list_or_refused(filename: str) -> None:
    try:
        extension = extension_of(display_name(filename))
    except (RequestInvalid, SlideSetIncomplete):
        return
    assert extension in (None, ".svs", ".tif", ".tiff", ".ndpi", ".scn", ".bif", ".svslide", ".dcm", ".zip")


@pytest.mark.parametrize(
    ("head", "extension"),
    [(b"II*\0", ".tif"), (b"MM\0+", ".tif"), (b"\0" * 128 + b"DICM", ".dcm"), (b"PK\3\4", ".zip")],
)
def test_first_bytes_tell_the_format(head: bytes, extension: str) -> None:
    assert sniff_extension(head) == extension


@pytest.mark.parametrize("header", ["sha-256=:AAAA:", "sha-256=abc", "sha-256=", "sha-256=:!:", "SHA-256=:AAAA:"])
def test_a_digest_that_is_none_is_refused(header: str) -> None:
    with pytest.raises(LDiffusionError):
        parse_digest(header)


def test_a_digest_is_found_among_others() -> None:
    digest = base64.b64encode(hashlib.sha256(b"x").digest()).decode()
    header = f"md5=:AAAA:, sha-256=:{digest}:"
    assert parse_digest(header) == hashlib.sha256(b"x").hexdigest()
    assert parse_digest(None) is None
