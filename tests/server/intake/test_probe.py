"""Good slides pass, everything else is refused with a sentence, and a hostile file harms only the child."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from spoiled_tiles import spoil_tile

from server.intake.probe import examine, probe
from workers.core.errors.base import LDiffusionError, SlideTooLarge, SlideUnreadable
from workers.core.settings import Settings

pytestmark = pytest.mark.process

GOOD = {
    "CMU-1-Small-Region.svs": ("aperio", "openslide", 1),
    "OS-1-detail.ome.tif": ("ome-tiff", "tifffile", 1),
    "camelyon_level_j2k_1696x812.dcm": ("dicom", "openslide", 1),
    "crc_P2_0039_sec4_9984x16384.tif": ("generic-tiff", "openslide", 6),
    "tcga-cr-7395-01a-01-ts1.svs": ("aperio", "openslide", 2),
    "test3-DAPI-2-387.ndpi": ("hamamatsu", "openslide", 7),
}
MAX_PIXELS = 10**11


def child(path: Path, **limits: int) -> subprocess.CompletedProcess[str]:
    """Run the child's side as the parent does."""
    asked = {"cpu_s": 30, "memory_bytes": 2**32} | limits
    order = {"name": path.name, "max_pixels": MAX_PIXELS}
    command = [sys.executable, "-P", "-m", "server.intake.probe", json.dumps(asked), json.dumps(order)]
    root = Path(__file__).resolve().parents[3]
    return subprocess.run(
        command, cwd=path.parent, env={"PYTHONPATH": str(root)}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", GOOD)
def test_a_good_slide_of_every_kind_passes(shared_data: Path, name: str) -> None:
    report = probe(shared_data / "wsi" / name, Settings())
    assert (report.vendor, report.backend, len(report.geometry.levels)) == GOOD[name]
    assert report.warnings == ()


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.9, 0.99])
def test_a_slide_that_was_cut_off_is_refused(shared_data: Path, tmp_path: Path, name: str, share: float) -> None:
    content = (shared_data / "wsi" / name).read_bytes()
    path = tmp_path / f"original{Path(name).suffix}"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(SlideUnreadable):
        examine(path, MAX_PIXELS)


@pytest.mark.parametrize("name", [name for name in GOOD if not name.endswith(".dcm")])
def test_a_slide_without_its_last_byte_is_refused(shared_data: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / f"original{Path(name).suffix}"
    path.write_bytes((shared_data / "wsi" / name).read_bytes()[:-1])
    with pytest.raises(SlideUnreadable):
        probe(path, Settings())


def refusal(path: Path, settings: Settings | None = None) -> LDiffusionError:
    """Probe, expect a refusal, and check that it holds no path of the server."""
    with pytest.raises(LDiffusionError) as refused:
        probe(path, settings or Settings())
    body = json.dumps(refused.value.as_dict())
    assert str(path.parent) not in body
    assert str(Path(__file__).parents[3]) not in body
    return refused.value


def test_a_text_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "original.svs"
    path.write_text("this is no slide\n" * 100)
    assert isinstance(refusal(path), SlideUnreadable)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "original.tif"
    path.touch()
    assert isinstance(refusal(path), SlideUnreadable)


def test_a_dicom_that_is_no_slide_is_refused(shared_data: Path) -> None:
    error = refusal(shared_data / "wsi" / "cmu_sm_3236x2638.dcm")
    assert isinstance(error, SlideUnreadable)
    assert "image flavor" in error.message


def test_a_name_that_looks_like_an_option_is_a_name(made_slide: Callable[..., Path]) -> None:
    path = made_slide(np.zeros((300, 300, 3), np.uint8), name="--help.tif")
    assert probe(path, Settings()).vendor == "generic-tiff"


def test_a_slide_with_too_many_pixels_is_refused_before_they_are_read(made_slide: Callable[..., Path]) -> None:
    path = made_slide(np.zeros((600, 600, 3), np.uint8))
    error = refusal(path, Settings(slide_max_pixels=360_000 - 1))
    assert isinstance(error, SlideTooLarge)
    assert (error.value, error.accepted) == ("360000", "at most 359999")
    assert probe(path, Settings(slide_max_pixels=360_000)).geometry.l0_width == 600


def test_a_slide_with_too_many_pixels_on_one_side_is_refused(tmp_path: Path) -> None:
    tile = np.zeros((16, 8192, 3), np.uint8)
    for side, passes in ((2**24, True), (2**24 + 1, False)):
        path, tiles = tmp_path / f"{side}.tif", -(-side // 8192)
        tifffile.imwrite(
            path, (None if i else tile for i in range(tiles)), shape=(16, side, 3), dtype="uint8", tile=(16, 8192),
            photometric="rgb", metadata=None,
        )  # fmt: skip
        if passes:
            assert examine(path, MAX_PIXELS).geometry.l0_width == side
        else:
            with pytest.raises(SlideTooLarge, match="too many pixels on one side"):
                examine(path, MAX_PIXELS)


def test_a_slide_with_too_many_levels_is_refused(tmp_path: Path) -> None:
    for levels, passes in ((64, True), (65, False)):
        path = tmp_path / f"{levels}.tif"
        with tifffile.TiffWriter(path) as tiff:
            for level in range(levels):
                pixels = np.zeros((160 - level, 160 - level, 3), np.uint8)
                tiff.write(
                    pixels, tile=(16, 16), photometric="rgb", compression="zlib", subfiletype=int(level > 0),
                    metadata=None,
                )  # fmt: skip
        if passes:
            assert len(examine(path, MAX_PIXELS).geometry.levels) == levels
        else:
            with pytest.raises(SlideTooLarge, match="too many levels"):
                examine(path, MAX_PIXELS)


def test_a_slide_that_claims_a_giant_plane_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "original.tif"
    with tifffile.TiffWriter(path) as tiff:
        tile = np.zeros((256, 256, 3), np.uint8)
        tiff.write(
            (tile if i == 0 else None for i in range(4)),
            shape=(512, 512, 3),
            dtype="uint8",
            tile=(256, 256),
            metadata=None,
        )
    with tifffile.TiffFile(path, mode="r+") as tiff:
        for tag in ("ImageWidth", "ImageLength"):
            tiff.pages.first.tags[tag].overwrite(4_000_000)
    assert isinstance(refusal(path), (SlideTooLarge, SlideUnreadable))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("original.mrxs", "no picture either"),
        ("original.vms", "[Virtual Microscope Specimen]\nNoLayers=1\nImageFile=../../secret.jpg\n"),
    ],
)
def test_a_part_of_a_slide_of_several_files_is_refused(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    assert isinstance(refusal(path), SlideUnreadable)


def test_a_format_that_names_other_files_is_refused(
    made_slide: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made_slide(np.zeros((300, 300, 3), np.uint8))
    monkeypatch.setattr("server.intake.probe.SEVERAL_FILES", ("generic-tiff",))
    assert examine(path, MAX_PIXELS).vendor == "generic-tiff"  # it is a TIFF, and a TIFF is one file
    monkeypatch.setattr("server.intake.probe.check_tiff", lambda path: False)
    with pytest.raises(SlideUnreadable, match="several files"):
        examine(path, MAX_PIXELS)


def test_a_damaged_tile_in_the_middle_of_the_last_level_is_found(made_slide: Callable[..., Path]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2304, 2304, 3), np.uint8)
    path = made_slide(noise, levels=2, compression="deflate")
    spoil_tile(path, 1, 12)  # of 5 x 5
    error = refusal(path)
    assert "cannot be decoded" in error.message
    assert "level 1" in error.message


def test_a_probe_out_of_time_is_ended(made_slide: Callable[..., Path]) -> None:
    error = refusal(made_slide(np.zeros((300, 300, 3), np.uint8)), Settings(probe_timeout_s=0.01))
    assert "0.01 seconds" in error.message


def test_a_reader_without_memory_is_a_refusal(cmu_slide: Path) -> None:
    assert isinstance(refusal(cmu_slide, Settings(probe_memory_bytes=2**20)), SlideUnreadable)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("kill -SEGV $$", "signal 11"),
        ("exit 3", "status 3"),
        ("echo '{}'", "status 0"),
        ("echo '{\"report\": 5}'", "status 0"),
        ("head -c 3000000 /dev/zero", "status 0"),
    ],
)
def test_whatever_a_crashed_child_leaves_is_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, says: str
) -> None:
    slide = tmp_path / "slide"
    slide.mkdir()
    crashing = tmp_path / "python"
    crashing.write_text(f"#!/bin/sh\n{script}\n")
    crashing.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(crashing))
    assert says in refusal(slide / "original.svs").message


def test_all_that_the_child_started_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "alive"
    os.mkfifo(mark)
    hanging = tmp_path / "python"
    hanging.write_text(f"#!/bin/sh\nsleep 600 > {mark} &\nwait\n")
    hanging.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(hanging))
    reader = os.open(mark, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    try:
        refusal(tmp_path / "original.svs", Settings(probe_timeout_s=1))
        assert os.read(reader, 1) == b""  # end of file: nobody holds the other end; would hang otherwise
    finally:
        os.close(reader)


def test_the_child_says_one_json_object(made_slide: Callable[..., Path]) -> None:
    done = child(made_slide(np.zeros((300, 300, 3), np.uint8)))
    assert done.returncode == 0
    assert json.loads(done.stdout)["report"]["vendor"] == "generic-tiff"


def test_nothing_is_written_beside_the_slide(made_slide: Callable[..., Path]) -> None:
    path = made_slide(np.zeros((300, 300, 3), np.uint8))
    probe(path, Settings())
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
