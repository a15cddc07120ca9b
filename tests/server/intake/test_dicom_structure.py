"""A DICOM slide that claims too much is refused by its headers, before openslide sees it."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_series import write_series
from numpy.typing import NDArray

from server.intake import probe
from server.intake.dicom_structure import check_dicom
from workers.core.errors.base import SlideTooLarge, SlideUnreadable


@pytest.fixture
def series(tmp_path: Path) -> list[Path]:
    """Two volume instances under the names that a stored series has."""
    pixels: NDArray[np.uint8] = np.full((128, 128, 3), 90, np.uint8)
    paths = write_series(tmp_path, pixels, others=False)
    return [path.rename(tmp_path / f"original-{number:04d}.dcm") for number, path in enumerate(paths)]


def changed(path: Path, **values: object) -> None:
    made = pydicom.dcmread(path)
    for name, value in values.items():
        setattr(made, name, value)
    made.save_as(path)


def test_real_and_made_slides_pass(shared_data: Path, series: list[Path]) -> None:
    for name in ("camelyon_level_j2k_1696x812.dcm", "camelyon_level_jpeg_1152x700.dcm", "cmu_sm_3236x2638.dcm"):
        check_dicom(shared_data / "wsi" / name)
    assert probe.examine(series[0], 10**9).vendor == "dicom"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"Rows": 8193}, "A tile of this DICOM slide is too large"),
        ({"Columns": 60_000}, "A tile of this DICOM slide is too large"),
        ({"SamplesPerPixel": 65}, "A pixel of this DICOM slide is too large"),
        ({"BitsAllocated": 65}, "A pixel of this DICOM slide is too large"),
        ({"Rows": 8192, "Columns": 8192, "SamplesPerPixel": 5}, "A tile or a strip of this DICOM slide is too large"),
        ({"TotalPixelMatrixColumns": 2**24 + 1}, "too many pixels on one side"),
        ({"TotalPixelMatrixRows": 2**32 - 1}, "too many pixels on one side"),
        ({"NumberOfFrames": 2**23 + 1}, "too many tiles"),
    ],
)
@pytest.mark.parametrize("instance", [0, 1])
def test_a_claim_past_the_limits_is_refused_in_whichever_instance(
    series: list[Path], monkeypatch: pytest.MonkeyPatch, instance: int, values: dict[str, int], sentence: str
) -> None:
    monkeypatch.setattr(probe, "open_slide", lambda path: pytest.fail("it was opened"))
    changed(series[instance], **values)
    with pytest.raises(SlideTooLarge, match=sentence):
        probe.examine(series[0], 10**9)


def test_the_largest_tile_passes(series: list[Path]) -> None:
    changed(series[0], Rows=8192, Columns=8192, SamplesPerPixel=4, TotalPixelMatrixRows=2**24, NumberOfFrames=2**23)
    check_dicom(series[0])


def test_a_size_that_is_no_number_and_a_part_that_is_no_dicom_are_refused(series: list[Path]) -> None:
    changed(series[1], Rows=[64, 60_000])
    with pytest.raises(SlideUnreadable, match="Rows of this DICOM file is no number"):
        check_dicom(series[0])
    series[1].write_bytes(b"no DICOM")
    with pytest.raises(SlideUnreadable, match="header of this DICOM file is damaged"):
        check_dicom(series[0])


def test_a_dicom_that_is_a_tiff_too_is_looked_at(series: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "check_tiff", lambda path: True)
    changed(series[0], Rows=8193)
    with pytest.raises(SlideTooLarge, match="A tile of this DICOM slide"):
        probe.examine(series[0], 10**9)
