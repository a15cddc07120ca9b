"""The page of errors says what the classes say."""

import re
from pathlib import Path
from urllib.parse import urljoin

import httpx

from server.web.error_catalogue import titles
from server.web.errors import HTTP_CODES
from server.web.errors_page import page


def test_the_page_is_printed_from_the_classes_as_they_are(repo_root: Path) -> None:
    assert (repo_root / "docs" / "errors.md").read_text() == page(), "python -m server.web.errors_page > docs/errors.md"


def test_every_code_in_the_sources_has_one_row(repo_root: Path) -> None:
    sources = "".join(path.read_text() for path in (repo_root / "workers" / "core" / "errors").glob("*.py"))
    codes = set(re.findall(r'^    code(?:: ClassVar\[str\])? = "(\w+)"$', sources, flags=re.MULTILINE))
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (.+\.) \|$", page(), flags=re.MULTILINE)
    assert sorted(row[0] for row in rows) == sorted(codes - {"internal_error"})
    assert ("upload_expired", "410", "The resumable upload had no byte for too long; what came of it is gone.") in rows


def test_every_type_leads_to_its_code_on_the_page_of_the_server(gateway: httpx.Client) -> None:
    shown = gateway.get("/docs/errors")
    assert shown.headers["content-type"] == "text/html; charset=utf-8"
    anchors = re.findall(r'<tr id="(\w+)">', shown.text)
    assert sorted(anchors) == sorted(titles())
    link = urljoin(str(gateway.base_url), gateway.get("/v2").json()["type"])
    assert httpx.get(link, trust_env=False).status_code == 200
    assert link.partition("#")[2] in anchors


def test_every_code_that_is_answered_without_a_class_is_explained() -> None:
    assert set(HTTP_CODES.values()) | {"internal_error", "invalid_request", "upload_incomplete"} <= set(titles())
    assert all(text.endswith(".") for text in titles().values())
