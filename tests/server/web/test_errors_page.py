"""The page of errors says what the classes say."""

import re
from pathlib import Path

from server.web.errors_page import page


def test_the_page_is_printed_from_the_classes_as_they_are(repo_root: Path) -> None:
    assert (repo_root / "docs" / "errors.md").read_text() == page(), "python -m server.web.errors_page > docs/errors.md"


def test_every_code_in_the_sources_has_one_row(repo_root: Path) -> None:
    sources = "".join(path.read_text() for path in (repo_root / "workers" / "core" / "errors").glob("*.py"))
    codes = set(re.findall(r'^    code(?:: ClassVar\[str\])? = "(\w+)"$', sources, flags=re.MULTILINE))
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (.+\.) \|$", page(), flags=re.MULTILINE)
    assert sorted(row[0] for row in rows) == sorted(codes - {"internal_error"})
    assert ("upload_expired", "410", "The resumable upload had no byte for too long; what came of it is gone.") in rows
