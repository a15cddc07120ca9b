"""Writes a small DICOM series of a whole slide: volume instances of several levels, a label and an overview."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

WSM = "1.2.840.10008.5.1.4.1.1.77.1.6"
TILE = 64
PATIENT = {
    "PatientName": "Vespucci^Simonetta",
    "PatientID": "PID-9081726",
    "PatientBirthDate": "14530128",
    "AccessionNumber": "ACC-4711",
    "StudyDescription": "Left-ear-biopsy",
    "DeviceSerialNumber": "SERIAL-0815",
    "ContainerIdentifier": "BARCODE-1234",
}


def write_series(
    folder: Path, pixels: NDArray[np.uint8], *, mpp: float = 0.5, levels: int = 2, others: bool = True
) -> list[Path]:
    """Write a series into a folder and return its files, those of label and overview last.

    Level k holds every 2^k-th of `pixels` (height, width, 3), uncompressed. The label is plain (1, 2, 3), the overview
    (4, 5, 6).
    """
    folder.mkdir(parents=True, exist_ok=True)
    common = {name: generate_uid() for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")}
    pictures = [("VOLUME", pixels[:: 2**level, :: 2**level], mpp * 2**level) for level in range(levels)]
    if others:
        flat = np.empty((TILE, TILE, 3), np.uint8)
        pictures += [
            (kind, flat * 0 + np.array(rgb, np.uint8), 10.0)
            for kind, rgb in (("LABEL", (1, 2, 3)), ("OVERVIEW", (4, 5, 6)))
        ]
    paths = []
    for number, (kind, picture, mpp_here) in enumerate(pictures):
        path = folder / f"instance-{len(pictures) - number}.dcm"  # names say nothing of the order
        _instance(kind, picture, mpp_here, number, common).save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def _instance(kind: str, pixels: NDArray[np.uint8], mpp: float, number: int, common: dict[str, Any]) -> Dataset:
    height, width = pixels.shape[:2]
    rows, columns = -(-height // TILE), -(-width // TILE)
    padded = np.full((rows * TILE, columns * TILE, 3), 255, np.uint8)
    padded[:height, :width] = pixels
    tiles = padded.reshape(rows, TILE, columns, TILE, 3).swapaxes(1, 2)
    made = Dataset()
    made.update(_attributes(kind, number, width, height, rows * columns, mpp))
    for name, value in (PATIENT | common).items():
        setattr(made, name, value)
    made.SharedFunctionalGroupsSequence = Sequence([_functional_groups(mpp, kind)])
    made.OpticalPathSequence = Sequence([_optical_path()])
    made.add_new((0x0009, 0x0010), "LO", "SCANNER")
    made.add_new((0x0009, 0x1001), "LO", "PRIVATE-OPERATOR")
    made.PixelData = tiles.tobytes()
    made["PixelData"].VR = "OB"
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(WSM), made.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta = meta
    return made


def _attributes(kind: str, number: int, width: int, height: int, frames: int, mpp: float) -> Dataset:
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = WSM, generate_uid()
    made.ImageType = ["ORIGINAL" if number == 0 else "DERIVED", "PRIMARY", kind, "NONE" if number == 0 else "RESAMPLED"]
    made.Modality, made.InstanceNumber, made.StudyDate, made.StudyTime = "SM", number + 1, "14760426", "120000"
    made.PatientSex, made.ReferringPhysicianName, made.StudyID = "F", "Lorenzi^Piero", "STUDY-31"
    made.Rows = made.Columns = TILE
    made.NumberOfFrames, made.SamplesPerPixel, made.PlanarConfiguration = frames, 3, 0
    made.PhotometricInterpretation = "RGB"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    made.TotalPixelMatrixColumns, made.TotalPixelMatrixRows = width, height
    made.ImagedVolumeWidth, made.ImagedVolumeHeight = width * mpp / 1000, height * mpp / 1000
    made.DimensionOrganizationType = "TILED_FULL"
    made.BurnedInAnnotation, made.SpecimenLabelInImage = "NO", "YES" if kind == "LABEL" else "NO"
    made.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
    origin = Dataset()
    origin.XOffsetInSlideCoordinateSystem, origin.YOffsetInSlideCoordinateSystem = 0, 0
    made.TotalPixelMatrixOriginSequence = Sequence([origin])
    return made


def _functional_groups(mpp: float, kind: str) -> Dataset:
    measures = Dataset()
    measures.PixelSpacing, measures.SliceThickness = [mpp / 1000, mpp / 1000], 0.001
    frame = Dataset()
    frame.FrameType = ["DERIVED", "PRIMARY", kind, "NONE"]
    groups = Dataset()
    groups.PixelMeasuresSequence = Sequence([measures])
    groups.WholeSlideMicroscopyImageFrameTypeSequence = Sequence([frame])
    return groups


def _optical_path() -> Dataset:
    light = Dataset()
    light.CodeValue, light.CodingSchemeDesignator, light.CodeMeaning = "111741", "DCM", "Transmission illumination"
    path = Dataset()
    path.OpticalPathIdentifier, path.OpticalPathDescription = "1", "seen by Dr. Botticelli"
    path.IlluminationTypeCodeSequence = Sequence([light])
    return path


def read_header(path: Path) -> Dataset:
    """Header of an instance."""
    return pydicom.dcmread(path, stop_before_pixels=True)
