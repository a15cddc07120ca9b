"""Signed links: one path, one tenant, a short time; whatever is altered opens nothing."""

import hashlib
import hmac
import json
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.access.signing import Link, Links, is_link, read_secret
from workers.core.errors.access import LinkInvalid
from workers.core.errors.base import RequestInvalid, Unavailable

NOW = 1_800_000_000.0
SECRET = bytes(range(32))
LINKS = Links(SECRET, max_s=600)
JOB = "/v1/jobs/0123/overlay.ome.tif"
TILES = "/v1/slides/0123/"


def made(path: str = JOB, life_s: int = 60, tenant: str = "lab-a", *, is_prefix: bool = False) -> Link:
    return LINKS.make(tenant, path, life_s, is_prefix=is_prefix, now=NOW)


def opens(path: str, query: str, method: str = "GET", now: float = NOW) -> bool:
    try:
        return LINKS.tenant_of(method, path, query, now) == "lab-a"
    except LinkInvalid:
        return False


def changed(link: Link, **fields: str | list[str] | None) -> str:
    return urlencode({k: v for k, v in (parse_qs(link.query) | fields).items() if v is not None}, doseq=True)


# --- what opens -------------------------------------------------------------------------------------------------------


def test_a_link_opens_its_path_for_its_tenant() -> None:
    link = made()
    assert LINKS.tenant_of("GET", JOB, link.query, NOW) == "lab-a"
    assert opens(JOB, link.query, "HEAD")
    assert link.url == f"{JOB}?{link.query}"
    assert is_link(link.query)
    assert not is_link("limit=5")


def test_a_path_with_any_character_is_opened_by_its_url() -> None:
    path = "/v1/slides/0123/Gewebe #1 50%?.tif\n"
    path_of_url, _, query = made(path).url.partition("?")
    assert unquote(path_of_url) == path
    assert opens(unquote(path_of_url), query)


def test_the_signature_is_that_of_an_independent_writing() -> None:
    fields = parse_qs(made().query)
    message = json.dumps(["ldiffusion-link-1", "GET", "path", JOB, "lab-a", int(NOW) + 60]).encode()
    assert fields["signature"] == [hmac.new(SECRET, message, hashlib.sha256).hexdigest()]
    assert fields["expires"] == [str(int(NOW) + 60)]


def test_a_prefix_opens_all_below_it_and_nothing_else() -> None:
    query = made(TILES, is_prefix=True).query
    assert opens("/v1/slides/0123/dz_files/12/3_4.jpeg", query)
    assert opens("/v1/slides/0123/thumbnail", query)
    for other in ("/v1/slides/01234", "/v1/slides/0123", "/v1/slides/9999/thumbnail", "/v1/jobs/0123/", "/"):
        assert not opens(other, query), other


def test_a_viewer_may_add_fields_of_its_own() -> None:
    assert opens(JOB, made().query + "&v=3")


# --- what does not ----------------------------------------------------------------------------------------------------


@given(
    path=st.sampled_from([JOB, JOB + "/", JOB[:-1], "/v1/jobs/0124/overlay.ome.tif", "/v1/jobs", TILES]),
    tenant=st.sampled_from(["lab-a", "lab-b", "LAB-A", ""]),
    later=st.sampled_from([0, 1, 60, -1]),
    nibble=st.sampled_from([None, 0, 63]),
    method=st.sampled_from(["GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"]),
)
def test_a_link_opens_only_as_it_was_made(path: str, tenant: str, later: int, nibble: int | None, method: str) -> None:
    link = made()
    signature = parse_qs(link.query)["signature"][0]
    if nibble is not None:
        other = "0" if signature[nibble] != "0" else "1"
        signature = signature[:nibble] + other + signature[nibble + 1 :]
    query = changed(link, tenant=tenant, expires=str(link.expires + later), signature=signature)
    is_same = (path, tenant, later, nibble) == (JOB, "lab-a", 0, None) and method in ("GET", "HEAD")
    assert opens(path, query, method) == is_same


def test_a_link_ends_when_it_says() -> None:
    link = made(life_s=60)
    assert opens(JOB, link.query, now=NOW + 59.9)
    assert not opens(JOB, link.query, now=NOW + 60)


def test_no_link_lives_longer_than_is_allowed_now() -> None:
    with pytest.raises(RequestInvalid):
        made(life_s=601)
    with pytest.raises(RequestInvalid):
        made(life_s=0)
    long = Links(SECRET, max_s=10**6).make("lab-a", JOB, 10**5, now=NOW)  # from when more was allowed
    assert not opens(JOB, long.query)


def test_a_link_of_a_path_is_none_of_a_prefix_and_the_other_way_round() -> None:
    path_link, prefix_link = made(TILES), made(TILES, is_prefix=True)
    assert opens(TILES, path_link.query)
    assert not opens(TILES + "x", changed(path_link, prefix=TILES))
    assert not opens(TILES, changed(prefix_link, prefix=None))
    assert not opens("/v1/slides/0123/x", changed(prefix_link, prefix="/v1/slides/"))


@pytest.mark.parametrize("rest", ["../9999/thumbnail", "a/../../9999", "./x", "a//b", "..\\9999", "a/.."])
def test_a_prefix_is_not_left_by_going_up(rest: str) -> None:
    assert not opens(TILES + rest, made(TILES, is_prefix=True).query)


@pytest.mark.parametrize(
    ("path", "is_prefix"),
    [
        *(("/", True), ("/v1/", True), ("/v1/slides/", True), ("/v1/slides/0123", True)),
        *(("/docs", False), ("v1/slides", False), ("/v1/../etc", False), ("/v1//slides", False), ("/v1/a\\b", False)),
    ],
)
def test_what_is_too_wide_or_not_plain_is_not_signed(path: str, *, is_prefix: bool) -> None:
    with pytest.raises(RequestInvalid):
        made(path, is_prefix=is_prefix)


def test_of_two_fields_of_a_kind_none_counts() -> None:
    link = made()
    for name in ("expires", "tenant", "signature"):
        value = parse_qs(link.query)[name][0]
        assert not opens(JOB, changed(link, **{name: [value, value]}))
        assert not opens(JOB, changed(link, **{name: None}))


@pytest.mark.parametrize("expires", ["", "-1", "1e9", "９９９", "9" * 13, "1800000060.0", " 1800000060"])
def test_an_end_that_is_no_number_is_refused(expires: str) -> None:
    assert not opens(JOB, changed(made(), expires=expires))


def test_a_signature_that_is_no_text_of_ours_is_refused() -> None:
    assert not opens(JOB, changed(made(), signature="é" * 64))
    assert not opens(JOB, changed(made(), signature=""))


def test_signatures_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    link, seen = made(), list[str]()
    compare = hmac.compare_digest

    def watched(one: str, other: str) -> bool:
        seen.append(other)
        return compare(one, other)

    monkeypatch.setattr("server.access.signing.hmac.compare_digest", watched)
    assert opens(JOB, link.query)
    assert not opens(JOB, changed(link, signature="0" * 64))
    assert len(seen) == 2


def test_another_secret_makes_other_links() -> None:
    other = Links(SECRET[::-1], 600).make("lab-a", JOB, 60, now=NOW)
    assert not opens(JOB, other.query)


# --- the secret -------------------------------------------------------------------------------------------------------


def test_the_secret_is_made_once_and_is_private(tmp_path: Path) -> None:
    secret = read_secret(tmp_path)
    path = tmp_path / "link.secret"
    assert len(secret) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_secret(tmp_path) == secret
    path.unlink()
    assert read_secret(tmp_path) != secret


def test_a_secret_that_others_can_read_or_guess_is_not_used(tmp_path: Path) -> None:
    read_secret(tmp_path)
    path = tmp_path / "link.secret"
    path.chmod(0o644)
    with pytest.raises(Unavailable):
        read_secret(tmp_path)
    path.chmod(0o600)
    for content in ("", "00" * 31, "secret"):
        path.write_text(content)
        with pytest.raises(Unavailable):
            read_secret(tmp_path)
