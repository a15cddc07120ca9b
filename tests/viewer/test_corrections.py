"""Corrections on the page, from the click on an object to the dataset; a batch as one table with its plots."""

import csv
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from made_slides import write_slide
from viewer_fixtures import BLUE, GLASS, LDIFFUSION, RED, RED_INK, Colour, Walk, Walker

MM2 = 0.25**2 / 1e6
TISSUE_MM2 = 2304 * 1536 * MM2
ACCEPTED, REJECTED, CHANGED, SELECTED = (0, 115, 79), (176, 58, 0), (0, 88, 163), (255, 225, 77)


def numbers(rows: list[str]) -> dict[str, list[list[str]]]:
    """Rows of the table of counts: class → [as found, corrected], each objects, area, density."""
    found: dict[str, list[list[str]]] = {}
    for name, without, corrected in zip(rows[0::3], rows[1::3], rows[2::3], strict=True):
        found[name.strip()] = [row.split("\t")[1:] for row in (without, corrected)]
    return found


def density(count: int) -> str:
    value = count / TISSUE_MM2
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def share_of_line(walk: Walk, name: str, box: tuple[int, int, int, int], color: Colour) -> float:
    """How much of the edge of a box has a line of this colour on it, a few screen px off at most."""
    x, y, width, height = box
    pixels, hits, seen = walk.pixels(name).astype(int), 0, 0
    zoom, (left, top) = walk.zoom(name), walk.screen(name, 0, 0)
    for share in np.linspace(0.02, 0.98, 60):
        for l0_x, l0_y in ((x + share * width, y), (x + share * width, y + height), (x, y + share * height)):
            across, down = round(l0_x * zoom + left), round(l0_y * zoom + top)
            near = pixels[down - 3 : down + 4, across - 3 : across + 4]
            hits += bool((np.abs(near - color).max(axis=-1) <= 40).any())
            seen += 1
    return hits / seen


def test_objects_are_judged_drawn_counted_and_become_a_dataset(walker: Walker, slide: Path, tmp_path: Path) -> None:
    walk = walker("review", slide)
    said = walk.said
    assert said["closed"] is False
    one = [["1", f"{700 * 500 * MM2:.3f} mm²", density(1)]] * 2
    assert numbers(said["before"])["red"] == one
    assert said["picked"] == f"red, {float(f'{700 * 500 * 0.25**2:.3g}'):g} µm²"
    assert share_of_line(walk, "picked", RED, SELECTED) > 0.9

    rejected = numbers(said["rejected"])
    assert rejected["red"] == one
    assert rejected["blue"] == [["1", f"{500 * 340 * MM2:.3f} mm²", density(1)], ["0", "0 mm²", "0.00"]]
    assert share_of_line(walk, "rejected", RED, ACCEPTED) > 0.9
    assert share_of_line(walk, "rejected", BLUE, REJECTED) > 0.4
    assert share_of_line(walk, "rejected", BLUE, ACCEPTED) < 0.05
    assert said["undone"] == said["before"]
    assert "accepted by local" in said["again"]
    relabelled = numbers(said["relabelled"])
    assert [relabelled[name][1][0] for name in ("red", "blue")] == ["0", "2"]

    drawn = numbers(said["drawn"])
    assert [drawn[name][1][0] for name in ("red", "blue")] == ["2", "1"]
    for name, px2 in (("red", 700 * 500 + 200 * 100), ("blue", 200 * 100)):
        assert float(drawn[name][1][1].split()[0]) == pytest.approx(px2 * MM2, rel=0.06, abs=0.0006)
    assert share_of_line(walk, "drawn", (1000, 200, 200, 100), CHANGED) > 0.9
    assert share_of_line(walk, "drawn", (1400, 900, 200, 100), CHANGED) > 0.9
    assert said["reloaded"] == said["drawn"]

    with zipfile.ZipFile(walk.folder / "training.zip") as archive:
        archive.extractall(tmp_path / "set")
    done = subprocess.run([LDIFFUSION, "data", "check", tmp_path / "set"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("usable\n")


def dotted_slide(path: Path, count: int) -> Path:
    """A slide with so many red squares."""
    pixels = np.full((1024, 1536, 3), GLASS, np.uint8)
    for at in range(count):
        pixels[200:300, 100 + 300 * at : 200 + 300 * at] = RED_INK
    return write_slide(path, pixels, mpp=0.25, levels=2, compression="zlib")


def test_a_batch_is_a_table_that_is_sorted_plotted_and_fetched(walker: Walker, tmp_path: Path) -> None:
    for count in (2, 3):
        dotted_slide(tmp_path / f"dots {count}.tif", count)
    walk = walker("cohort", dotted_slide(tmp_path / "dots 1.tif", 1))
    said, mm2 = walk.said, 1024 * 1536 * MM2
    assert said["hidden"] is True
    cells = [[cell.strip() for cell in row.split("\t")] for row in said["byName"]]
    names = ["dots 1.tif", "dots 2.tif", "dots 3.tif"]
    assert [row[0] for row in cells] == names
    for count, row in enumerate(cells, 1):
        area = count * 100 * 100 * MM2
        assert row[1:7] == [
            "succeeded", f"{mm2:.3f}", f"{float(f'{area:.3g}'):g}",
            f"{100 * area / mm2:.1f} %", str(count), f"{count / mm2:.0f}",
        ]  # fmt: skip
    assert [row.split("\t")[0] for row in said["up"]] == names
    assert [row.split("\t")[0] for row in said["down"]] == names[::-1]
    assert said["sorted"] == ["descending"]
    assert [bar.partition(":")[0] for bar in said["bars"]] == names[::-1]
    assert sum(int(each.rpartition(" ")[2]) for each in said["bins"]) == 3
    assert [row.split("\t")[5] for row in said["blue"]] == ["0"] * 3
    assert said["open"] is False
    with (walk.folder / "cohort.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    table = pq.read_table(walk.folder / "cohort.parquet").to_pydict()
    assert sorted(table["name"]) == sorted(row["name"] for row in rows) == names
    assert dict(zip(table["name"], table["count_red"], strict=True)) == {name: at for at, name in enumerate(names, 1)}
