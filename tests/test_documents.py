"""What the documents promise about each other: links, headings, a page for each study."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "models" / "zoo").rglob("*.md")]
STUDIES = sorted((ROOT / "models" / "training" / "studies").glob("*.toml"))


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as the hosts of repositories make them."""
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    heads = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_exist(document: Path) -> None:
    for link in re.findall(r"]\(([^)\s]+)\)", document.read_text()):
        if link.startswith("http"):
            continue
        name, _, anchor = link.partition("#")
        target = document.parent / name if name else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_study_has_a_page_with_its_table(path: Path) -> None:
    study = tomllib.loads(path.read_text())
    page = (ROOT / "docs" / "results" / f"{path.stem}.md").read_text()
    assert f"--into docs/results/{path.stem}.md" in page
    written = page.partition(f"<!-- study: {path.stem} -->\n")[2].partition(f"<!-- end of {path.stem} -->\n")[0]
    assert written.startswith(f"## {study['title']}\n")
    assert [row["name"] for row in study["variants"] if f"\n| {row['name']} | " not in written] == []


def test_every_page_of_results_can_be_reached() -> None:
    pages = {f"results/{path.name}" for path in (ROOT / "docs" / "results").glob("*.md")}
    text = (ROOT / "docs" / "results.md").read_text()
    assert pages - set(re.findall(r"]\(([^)]+)\)", text)) == set()


def test_the_architecture_names_what_is_there() -> None:
    text = " ".join((ROOT / "docs" / "architecture.md").read_text().split())
    paths = re.findall(r"`((?:server|workers|models|viewer|tests)/[\w/.-]*)`", text)
    assert len(paths) > 50
    assert [path for path in paths if not (ROOT / path).exists()] == []
    named = re.findall(r"((?:`[\w.]+`(?:, | and |, then )?)+) (?:\(|in )`([\w/]+\.(?:py|ts))`", text)
    assert len(named) > 25
    for names, path in named:
        for name in re.findall(r"`(?:\w+\.)?(\w+)`", names):
            assert re.search(rf"\b{name}\b", (ROOT / path).read_text()), f"{name} is not in {path}"


def test_the_architecture_lists_every_wall() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    walls = (ROOT / "docs" / "architecture.md").read_text().partition("## Walls")[2]
    assert re.findall(r"^\| `([\w-]+)` \|", walls, flags=re.MULTILINE) == [each["id"] for each in contracts]
