"""The paper's tables beside ours: cited numbers as they stand, ours from the pages, nothing that is not finished."""

import csv
import json
from itertools import combinations
from pathlib import Path

import pytest
from markdown_tables import rows

from models.training.rgb_networks import NETWORKS
from models.training.study.__main__ import main
from models.training.study.paper import CITED, TABLES, read_cited, read_page, table_markdown

ROOT = Path(__file__).parents[4]
PAGES = ROOT / "docs" / "results"
PAGE = """# A page

### made: discs

| variant | seeds | DICE | MPA | mIoU | FwIoU |
| --- | --- | --- | --- | --- | --- |
| unet | 1 of 1 | 80.00 | 1.00 | 2.00 | 3.00 |
| fastfcn | 0 of 1 | – | – | – | – |
| deeplabv3 | 2 of 3, 1 failed | 99.00 | 1.00 | 2.00 | 3.00 |

Minus `unet`, in points:

| variant | DICE |
| --- | --- |
| swin-unet | +1.00 (+0.50 to +2.00) |

### made: other

| variant | seeds | DICE |
| --- | --- | --- |
| denseaspp | 1 of 1 | 70.00 |
"""


def test_only_finished_rows_of_the_set_itself_are_read() -> None:
    assert {name: row["DICE"] for name, row in read_page(PAGE, "made", "discs").items()} == {"unet": "80.00"}
    assert list(read_page(PAGE, "made", "other")) == ["denseaspp"]
    assert read_page(PAGE, "made", "absent") == {}


@pytest.mark.parametrize("number", [1, 2])
def test_a_table_holds_every_cited_number_and_every_finished_row(number: int) -> None:
    with (CITED / f"table{number}.csv").open(newline="") as handle:
        cited = {row["method"]: row for row in csv.DictReader(handle)}
    beside = [one for one in TABLES if one.table == number]
    tables = rows(table_markdown(number, PAGES))
    assert len(tables) == len(beside)
    for one, (head, _, *body) in zip(beside, tables, strict=True):
        assert [row[0] for row in body] == list(cited)
        texts = [(PAGES / f"{study}.md").read_text() for study in one.studies]
        pages = [read_page(text, study, one.name) for text, study in zip(texts, one.studies, strict=True)]
        for row in body:
            theirs = [value for cell in row[2:9:2] for value in cell.split(" / ")]
            by_metric = [cited[row[0]][f"{name} {key}"] for key in head[1:9:2] for name in head[2][7:].split(" / ")]
            assert theirs == by_metric
            ours = [page[cited[row[0]]["variant"]] for page in pages if cited[row[0]]["variant"] in page]
            assert row[1:9:2] == ([ours[0][key] for key in head[1:9:2]] if ours else ["–"] * 4)
            assert (row[9] == "–") == (row[10] == "–") == (not ours)


def test_places_are_counted_among_the_measured_rows() -> None:
    (head, _, *body), *_ = rows(table_markdown(2, PAGES))
    placed = [row for row in body if row[9] != "–"]
    assert head[9:] == ["place by DICE", "paper"]
    by_ours = sorted(placed, key=lambda row: -float(row[1].split()[0]))
    by_theirs = sorted(placed, key=lambda row: -sum(map(float, row[2].split(" / "))))
    assert [row[9] for row in by_ours] == [row[10] for row in by_theirs] == [str(1 + n) for n in range(len(placed))]


def test_every_method_is_one_of_our_networks_or_none() -> None:
    for number in (1, 2):
        variants = [row.variant for row in read_cited(CITED / f"table{number}.csv")]
        assert {name for name in variants if name} - set(NETWORKS) == {"l-diffusion"}
        assert len(variants) == 12


def test_rows_of_one_name_in_studies_of_one_set_are_one_run() -> None:
    """Else a table would put numbers of different recipes under each other."""
    digests = json.loads(Path(__file__).with_name("digests.json").read_text())
    for one in TABLES:
        for left, right in combinations(one.studies, 2):
            shared = digests[left].keys() & digests[right].keys()
            assert shared
            assert {name: digests[left][name] for name in shared} == {name: digests[right][name] for name in shared}


def test_the_page_holds_what_the_command_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (PAGES / "paper.md").read_text()
    (tmp_path / "paper.md").write_text(page)
    assert main(["paper", "--pages", str(PAGES), "--into", str(tmp_path / "paper.md")]) == 0
    assert (tmp_path / "paper.md").read_text() == page
    (tmp_path / "paper.md").write_text("no marks")
    assert main(["paper", "--pages", str(PAGES), "--into", str(tmp_path / "paper.md")]) == 2
    assert "has no lines <!-- paper: table 1 -->" in capsys.readouterr().err
    with pytest.raises(ValueError, match="table is 3; accepted: 1, 2"):
        table_markdown(3, PAGES)


def test_a_cited_cell_that_is_no_number_is_named(tmp_path: Path) -> None:
    (tmp_path / "table1.csv").write_text("method,variant,CRCD DICE\nU-Net,unet,many\n")
    with pytest.raises(ValueError, match=r"table1.csv, U-Net: could not convert string to float: 'many'"):
        read_cited(tmp_path / "table1.csv")
