"""The benchmark of formats tells a silent fault from a mutant that is read right, and finds none in a small slide."""

import logging
from pathlib import Path

import pytest

from benchmarks.format_judge import look
from benchmarks.format_mutants import DIRECTORY_KINDS
from benchmarks.format_mutants_ome import OME_KINDS
from benchmarks.format_mutants_zarr import ZARR_KINDS
from benchmarks.format_slides import Good, section, write_chain
from benchmarks.format_zarr import planes_of, write_image, zipped
from benchmarks.formats import mutants


@pytest.fixture
def good(tmp_path: Path) -> Good:
    pixels = section(width=256, height=256)
    return Good("small", write_chain(tmp_path / "good.tif", pixels), pixels)


def test_kinds_have_names_of_their_own_and_say_why() -> None:
    for kinds in ((*DIRECTORY_KINDS, *OME_KINDS), ZARR_KINDS):
        assert all(kind.why for kind in kinds)
        assert len({(kind.name, kind.is_detectable) for kind in kinds}) == len(kinds)


def test_the_judge_sees_other_pixels_and_another_resolution(good: Good, tmp_path: Path) -> None:
    assert look(good.path, good).differs == ()
    other = section(seed=4, width=256, height=256)
    seen = look(write_chain(tmp_path / "other.tif", other, resolution=(1e4, 1e4)), good)
    assert {"mpp 1.0 x 1.0", "colours of level 0", "colours of level 2", "far view"} <= set(seen.differs)


@pytest.mark.bench
@pytest.mark.slow
def test_no_mutant_of_a_small_slide_is_read_wrong_in_silence(
    good: Good, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, logger="tifffile")
    results = list(mutants([good], tmp_path))
    assert len(results) > 50
    assert {each.verdict for each in results} == {"refused", "warned", "right", "silent"}
    assert [each.kind.name for each in results if each.verdict == "silent" and each.kind.is_detectable] == []


@pytest.mark.bench
@pytest.mark.slow
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_no_mutant_of_a_small_ome_zarr_is_read_wrong_in_silence(tmp_path: Path, version: str) -> None:
    pixels = section(width=256, height=256)
    folder = write_image(tmp_path / "a.zarr", planes_of(pixels), version=version)
    results = list(mutants([Good("small", zipped(folder, tmp_path / "a.zip"), pixels)], tmp_path))
    assert len(results) > 90
    assert {each.verdict for each in results} == {"refused", "warned", "right", "silent"}
    assert [each.kind.name for each in results if each.verdict == "silent" and each.kind.is_detectable] == []
