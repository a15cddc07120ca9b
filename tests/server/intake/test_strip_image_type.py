"""What a DICOM instance has to say that it shows before it may stay."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_series import write_series

from server.intake import dicom_strip
from server.intake.dicom_strip import strip_dicom
from workers.core.errors.intake import DeidentifyRefused

PIXELS = np.zeros((64, 64, 3), np.uint8)


def as_kind(path: Path, kind: object) -> Path:
    """Give an instance this ImageType; none at all for None."""
    instance = pydicom.dcmread(path)
    del instance.ImageType
    if kind is not None:
        instance.ImageType = kind
    instance.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
@pytest.mark.parametrize("kind", ["LABEL", "label", ["O", "P", "Overview", "N"]])
def test_a_label_goes_however_its_image_type_is_written(tmp_path: Path, kind: object) -> None:
    files = write_series(tmp_path, PIXELS, levels=1, others=True)
    as_kind(files[-1], kind)
    strip_dicom(files)
    assert [path.exists() for path in files] == [True, False, False]


@pytest.mark.parametrize("kind", [None, "", ["ORIGINAL", "PRIMARY"]])
def test_no_label_slips_through_without_an_image_type(tmp_path: Path, kind: object) -> None:
    files = write_series(tmp_path, PIXELS, levels=1, others=True)
    as_kind(files[-1], kind)
    with pytest.raises(DeidentifyRefused, match="ImageType"):
        strip_dicom(files)


@pytest.mark.parametrize("kind", [None, "LABEL", ["ORIGINAL", "PRIMARY"]])
def test_what_is_left_is_looked_at_again_for_its_image_type(tmp_path: Path, kind: object) -> None:
    (path,) = write_series(tmp_path, PIXELS, levels=1, others=False)
    strip_dicom([path])
    with pytest.raises(DeidentifyRefused):
        dicom_strip.check_stripped(as_kind(path, kind))
