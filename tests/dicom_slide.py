"""Writes a DICOM slide of one instance."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

TILE = 256


def write_dicom(path: Path, pixels: NDArray[np.uint8], mpp: float) -> Path:
    """Write pixels (height, width, 3) as one uncompressed VL Whole Slide Microscopy instance, sides in whole tiles."""
    height, width = pixels.shape[:2]
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.77.1.6")
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(), generate_uid()
    image.FrameOfReferenceUID = generate_uid()
    image.Modality, image.ImageType = "SM", ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    image.PatientID, image.PatientName, image.PatientBirthDate, image.PatientSex = "made", "Made^Up", "", ""
    image.StudyID, image.AccessionNumber, image.ReferringPhysicianName = "", "", ""
    image.StudyDate, image.StudyTime, image.SeriesNumber, image.InstanceNumber = "20260102", "000000", 1, 1
    image.ContentDate, image.ContentTime = "20260102", "000000"
    image.Manufacturer, image.PositionReferenceIndicator = "made", "SLIDE_CORNER"
    image.ContainerIdentifier, image.VolumetricProperties = "box", "VOLUME"
    image.Rows = image.Columns = TILE
    image.TotalPixelMatrixColumns, image.TotalPixelMatrixRows = width, height
    image.TotalPixelMatrixFocalPlanes, image.NumberOfOpticalPaths = 1, 1
    image.ImagedVolumeWidth, image.ImagedVolumeHeight = width * mpp / 1000, height * mpp / 1000
    image.ImagedVolumeDepth = 0.001
    image.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
    origin = _item(XOffsetInSlideCoordinateSystem=20.0, YOffsetInSlideCoordinateSystem=40.0)
    image.TotalPixelMatrixOriginSequence = Items([origin])
    image.OpticalPathSequence = Items([_item(OpticalPathIdentifier="1")])
    image.SpecimenDescriptionSequence = Items([_item(SpecimenIdentifier="s", SpecimenUID=generate_uid())])
    image.DimensionOrganizationType = "TILED_FULL"
    measures = _item(PixelSpacing=[mpp / 1000] * 2, SliceThickness=0.001)
    image.SharedFunctionalGroupsSequence = Items([_item(PixelMeasuresSequence=Items([measures]))])
    image.SamplesPerPixel, image.PhotometricInterpretation, image.PlanarConfiguration = 3, "RGB", 0
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 8, 8, 7, 0
    image.BurnedInAnnotation, image.LossyImageCompression = "NO", "00"
    tiles = pixels.reshape(height // TILE, TILE, width // TILE, TILE, 3).swapaxes(1, 2)
    image.NumberOfFrames = tiles.shape[0] * tiles.shape[1]
    image.PixelData = np.ascontiguousarray(tiles).tobytes()
    image.save_as(path, enforce_file_format=True)
    return path


def _item(**values: object) -> Dataset:
    item = Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return item
