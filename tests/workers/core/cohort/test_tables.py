"""Rows of slides: as a table for people, and as files that others read."""

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from workers.core.cohort.rows import Row, row_of
from workers.core.cohort.tables import check_summary, exit_status, table, write_summary
from workers.core.errors.base import RequestInvalid
from workers.core.schemas import Provenance
from workers.core.slide_schemas import TrustWarning

BEGUN = datetime(2026, 3, 1, 12, tzinfo=UTC)
WARNINGS = (TrustWarning(code="ink", message="Ink."), TrustWarning(code="blur", message="Blur."))
CLASSES: dict[str, tuple[float | None, int | None]] = {
    "background": (0.5, None), "nucleus": (0.25, 30), "gland": (None, 12),
}  # fmt: skip


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    record = Provenance(
        job_id="j", slide_id="s", slide_sha256="e" * 64, slide_filename="a.svs", model="made", model_digest="d" * 64,
        mpp_x=0.25, mpp_y=0.26, mpp_source="request", model_mpp=0.5, seed=0, region_px=256, halo_px=0, regions=1,
        backend="openslide", versions={}, timings_s={}, files={}, created_at=BEGUN,
        finished_at=BEGUN + timedelta(seconds=90.5), warnings=(*WARNINGS, WARNINGS[0]),
    )  # fmt: skip
    both = []
    for name, classes in (("a", ["background", "nucleus"]), ("b", ["background", "gland"])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(record.model_dump_json())
        statistics: dict[str, Any] = {"mm2_per_pixel": 1, "slide_mm2": 8.0, "tissue_mm2": 4.0, "classes": []}
        for index, each in enumerate(classes):
            share, count = CLASSES[each]
            told = {"index": index, "name": each, "mm2": 1.5, "share_of_tissue": share, "mean_confidence": 0.75}
            statistics["classes"].append(told | {"count": count, "density_per_mm2": None})
        (tmp_path / name / "statistics.json").write_text(json.dumps(statistics))
        both.append(row_of(tmp_path / name, Path(f"{name}.svs"), "done", labels={"arm": name}))
    failed = row_of(tmp_path / "c", Path("c.svs"), "failed", error="mpp_missing: No. Accepted: 1.", labels={"n": "1"})
    return [*both, failed]


def test_the_table_has_a_column_for_each_class_but_background(rows: list[Row]) -> None:
    head, *lines, told = table(rows).splitlines()
    assert head.split() == "slide state tissue mm² nucleus gland objects seconds warnings or error".split()  # noqa: SIM905
    assert [line.split() for line in lines] == [
        ["a", "done", "4.0000", "25.00%", "-", "30", "90.5", "ink,", "blur"],
        ["b", "done", "4.0000", "-", "-", "12", "90.5", "ink,", "blur"],
        ["c", "failed", "-", "-", "-", "-", "-", "mpp_missing"],
    ]
    assert told == "3 slides: 2 done, 1 failed"
    assert (exit_status(rows), exit_status(rows[:2])) == (1, 0)


def test_parquet_and_csv_say_the_same(rows: list[Row], tmp_path: Path) -> None:
    for name in ("x.parquet", "x.csv"):
        check_summary(tmp_path / name)
        write_summary(tmp_path / name, rows)
    found = pq.read_table(tmp_path / "x.parquet")
    assert found.column("finished_at").to_pylist()[0] == BEGUN + timedelta(seconds=90.5)
    said = found.to_pydict()
    assert said["name"] == ["a", "b", "c"]
    assert said["objects"] == [30, 12, None]
    assert said["share_background"] == [0.5, 0.5, None]
    assert (said["count_nucleus"], said["count_gland"]) == ([30, None, None], [None, 12, None])
    assert said["share_gland"] == [None, None, None]
    assert (said["label_arm"], said["label_n"]) == (["a", "b", None], [None, None, "1"])
    assert said["error"][2] == "mpp_missing: No. Accepted: 1."
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as file:
        written = list(csv.DictReader(file))
    assert list(written[0]) == list(said)
    for at, row in enumerate(written):
        assert row == {name: "" if values[at] is None else str(values[at]) for name, values in said.items()}


def test_where_a_summary_cannot_be_written_is_told_before_there_is_one(tmp_path: Path) -> None:
    for wrong in ("x.xlsx", "x", "absent/x.csv", "folder.csv"):
        (tmp_path / "folder.csv").mkdir(exist_ok=True)
        with pytest.raises(RequestInvalid, match="--summary"):
            check_summary(tmp_path / wrong)
