"""DICOM VL whole slide microscopy: one or several instances of a series."""

from workers.core.slides.readers.openslide_reader import openslide_format

FORMAT = openslide_format(
    "dicom", "DICOM whole slide microscopy", "a real file", strip="dicom", has_several_files=True, mpp_origin="dicom"
)
