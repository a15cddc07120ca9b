"""Headers of the tus protocol, whatever a client may send."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.uploads.tus import parse_checksum, parse_chunk, parse_concat, parse_metadata, parse_upload_request
from workers.core.errors.base import HeaderInvalid

KEYS = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=","), min_size=1)
A, B = "a" * 32, "b" * 32


@given(st.dictionaries(KEYS, st.text(max_size=50), max_size=8), st.sampled_from([",", ", "]))
def test_metadata_come_back_as_they_were_sent(pairs: dict[str, str], separator: str) -> None:
    header = separator.join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs.items())
    assert parse_metadata(header) == pairs


@given(st.text(st.characters(max_codepoint=255)))
def test_any_metadata_are_read_or_refused(header: str) -> None:
    try:
        pairs = parse_metadata(header)
    except HeaderInvalid:
        return
    assert all(key.isascii() and not set(key) & set(" ,") for key in pairs)


def test_a_key_without_a_value_has_an_empty_one() -> None:
    assert parse_metadata("is_confidential, filename YS5zdnM=") == {"is_confidential": "", "filename": "a.svs"}
    assert parse_metadata(None) == parse_metadata("") == {}


@pytest.mark.parametrize(
    "header", ["a YQ==,a YQ==", "a YQ", "a YQ== b", ",", "ä YQ==", "a /w==", "a " + "YWFh" * 2048, "a\tYQ=="]
)
def test_metadata_that_are_none_are_refused(header: str) -> None:
    with pytest.raises(HeaderInvalid, match="Upload-Metadata"):
        parse_metadata(header)


@pytest.mark.parametrize("algorithm", ["sha256", "sha1"])
def test_a_checksum_is_read(algorithm: str) -> None:
    digest = hashlib.new(algorithm, b"x").digest()
    found = parse_checksum(f"{algorithm} {base64.b64encode(digest).decode()}")
    assert found is not None
    assert (found.algorithm, found.digest) == (algorithm, digest)
    assert parse_checksum(None) is None


@pytest.mark.parametrize("header", ["", "sha256", "sha256 !", "sha256 AAAA", "crc32 AAAA", "sha1 " + "A" * 44])
def test_a_checksum_that_is_none_is_refused(header: str) -> None:
    with pytest.raises(HeaderInvalid, match="Upload-Checksum"):
        parse_checksum(header)


@pytest.mark.parametrize(
    "urls",
    [
        f"/v1/uploads/{A} /v1/uploads/{B}",
        f"https://slides.example/v1/uploads/{A} /behind/a/proxy/v1/uploads/{B}/",
        f"http://[::1]:8000/v1/uploads/{A}  https://h/v1/uploads/{B} ",
    ],
)
def test_parts_are_found_by_their_addresses(urls: str) -> None:
    assert parse_concat(f"final;{urls}") == (False, (A, B))


def test_an_upload_is_a_part_or_it_is_not() -> None:
    assert parse_concat("partial") == (True, ())
    assert parse_concat(None) == (False, ())


@pytest.mark.parametrize(
    "header",
    [
        *(
            "",
            "final",
            "final;",
            "final; ",
            "partial;",
            f"partial;/v1/uploads/{A}",
            f"final;{A}",
            "final;/v1/uploads/..",
        ),
        *(f"final;/v1/uploads/{A} /v1/uploads/{A}", f"final;/v1/uploads/{A} x", f"final;/v1/uploads/{A}?x=1"),
        "final;" + " ".join(f"/v1/uploads/{number:032x}" for number in range(257)),
    ],
)
def test_a_concatenation_that_is_none_is_refused(header: str) -> None:
    with pytest.raises(HeaderInvalid, match="Upload-Concat"):
        parse_concat(header)


@pytest.mark.parametrize("number", [None, "", "-1", "+1", "1.0", " 1", "1_000", "٣", "9" * 19, "0x10"])
def test_a_number_of_bytes_is_decimal_digits(number: str | None) -> None:
    with pytest.raises(HeaderInvalid, match="Upload-Offset"):
        parse_chunk(number, None, None)
    with pytest.raises(HeaderInvalid, match="Upload-Length"):
        parse_upload_request(number, None, None, None)


def test_what_is_joined_says_no_length() -> None:
    assert parse_upload_request(None, None, None, f"final;/v1/uploads/{A}").parts == (A,)
    with pytest.raises(HeaderInvalid, match="Upload-Length"):
        parse_upload_request("3", None, None, f"final;/v1/uploads/{A}")
