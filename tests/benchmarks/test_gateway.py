"""The benchmark of the gateway prints its figures by their names; how good they are is no matter of a test."""

import json
from pathlib import Path

import pytest
from jpeg_slides import smooth_pixels, write_jpeg_slide

from benchmarks import gateway
from benchmarks.gateway_tiles import addresses
from server.viewing.deepzoom import Grid

NAMES = {
    "upload.vs_copy_and_hash",
    "upload.simple_vs_copy_and_hash",
    "upload.peak_mb",
    "deepzoom.vs_openslide_server",
    "deepzoom.gateway_rate",
    "deepzoom.gateway_p99",
    "deepzoom.openslide_server_rate",
    "deepzoom.openslide_server_p99",
}


@pytest.mark.process
@pytest.mark.bench
def test_one_run_prints_every_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slide = write_jpeg_slide(tmp_path / "s.tif", smooth_pixels(600, 700))
    small = ["--size-mib", "2", "--uploads", "2", "--tiles", "20", "--clients", "2", "--repeat", "1"]
    gateway.main(["--slide", str(slide), "--folder", str(tmp_path), *small], standalone_mode=False)
    lines = capsys.readouterr().out.splitlines()[-len(NAMES) :]  # last, after all tables
    figures = {line["figure"]: line["value"] for line in map(json.loads, lines)}
    assert figures.keys() == NAMES
    assert min(figures.values()) > 0


def test_all_tiles_are_asked_for_once_and_in_the_same_order_each_time() -> None:
    grid = Grid(700, 600, 256)
    found = addresses(grid, 1000)
    assert found == addresses(grid, 1000)
    assert len(set(found)) == len(found) == 3 * 3 + 2 * 2 + 9  # 700 x 600, 350 x 300, and nine levels of one tile
    for address in found:
        grid.tile(*address)
    assert addresses(grid, 5) == found[:5]
