"""Makes a DICOM slide hold nothing but its pixels: pictures of the label go, and every attribute that is not listed.

What stays is listed: the attributes that say how the pixels are coded, placed and lit. Patient and study are there,
and empty, as their modules want it; identifiers are new, the same old one becoming the same new one within a slide.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian, generate_uid

from workers.core.errors.base import SlideUnreadable
from workers.core.errors.intake import DeidentifyRefused
from workers.core.slides.slide import PARSER_ERRORS

COPY_BYTES = 2**20
METHOD = "Only listed attributes kept, new UIDs, no label or overview"
STANDARD_UIDS = "1.2.840.10008."
OTHER_PICTURES = frozenset(("LABEL", "OVERVIEW"))
TISSUE_PICTURES = frozenset(("VOLUME", "THUMBNAIL"))
"""What an instance has to call itself to stay; a thumbnail is the coarsest level of the volume."""

KEPT = frozenset(
    (
        *("ImageType", "SOPClassUID", "SOPInstanceUID", "Modality", "Manufacturer", "ManufacturerModelName"),
        *("StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "InstanceNumber", "FrameOfReferenceUID"),
        *("PositionReferenceIndicator", "DimensionOrganizationSequence", "DimensionIndexSequence"),
        *("DimensionOrganizationType", "ConcatenationUID", "ConcatenationFrameOffsetNumber", "InConcatenationNumber"),
        *("InConcatenationTotalNumber", "SOPInstanceUIDOfConcatenationSource", "VolumetricProperties"),
        *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns"),
        *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "BurnedInAnnotation", "ICCProfile"),
        *("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
        *("RepresentativeFrameNumber", "PresentationLUTShape", "RescaleIntercept", "RescaleSlope", "ColorSpace"),
        *("ImagedVolumeWidth", "ImagedVolumeHeight", "ImagedVolumeDepth", "TotalPixelMatrixColumns"),
        *("TotalPixelMatrixRows", "TotalPixelMatrixFocalPlanes", "TotalPixelMatrixOriginSequence"),
        *("SpecimenLabelInImage", "FocusMethod", "ExtendedDepthOfField", "NumberOfFocalPlanes"),
        *("DistanceBetweenFocalPlanes", "ImageOrientationSlide", "NumberOfOpticalPaths", "OpticalPathSequence"),
        *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "ExtendedOffsetTable"),
        *("ExtendedOffsetTableLengths",),
    )
)
EMPTY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
    *("AccessionNumber", "ReferringPhysicianName"),
)
NEW = {"PatientIdentityRemoved": "YES", "DeidentificationMethod": METHOD, "ContainerIdentifier": "REMOVED"}
TELLING_VRS = frozenset(("PN", "DA", "DT", "TM", "LT", "ST", "UC", "UN", "UR", "UT"))
"""Names, dates and free text: they go from within the sequences that stay."""

_PIXELS = b"\xe0\x7f\x10\x00"
_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_UNDEFINED = 0xFFFFFFFF
_REFUSED_SYNTAXES = (DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian)


def strip_dicom(files: Sequence[Path]) -> None:
    """Strip the instances of a DICOM slide in place, then read them again to see that it worked.

    Args:
        files: The instances; those of label and overview are removed.

    Raises:
        DeidentifyRefused: One has writing burned into its tissue, does not say what it is a picture of, is coded in a
            way that is not known here, or no instance is left.
        SlideUnreadable: One is damaged.
    """
    uids: dict[str, str] = {}
    left = [path for path in files if _strip_one(path, uids)]
    if not left:
        raise DeidentifyRefused("This DICOM slide is a picture of its label.", accepted="an instance with tissue")
    for path in left:
        check_stripped(path)


def _strip_one(path: Path, uids: dict[str, str]) -> bool:
    """Strip an instance, or remove it if it shows the label; say whether it is left."""
    changed = path.with_name(f".{path.name}")
    try:
        with path.open("rb") as source:
            header = pydicom.dcmread(source, stop_before_pixels=True)
            kinds = image_kinds(header)
            if kinds & OTHER_PICTURES:
                path.unlink()
                return False
            if not kinds & TISSUE_PICTURES:  # it may be the label all the same, and nobody looks
                raise DeidentifyRefused(
                    "An instance of this DICOM slide does not say in ImageType what it is a picture of.",
                    value=str(header.get("ImageType", "no ImageType"))[:200],
                    accepted="one that says VOLUME or THUMBNAIL, or LABEL or OVERVIEW, which are removed",
                )
            _check_kind(header)
            with changed.open("xb") as target:
                stripped_header(header, uids).save_as(target, enforce_file_format=True)
                _copy_pixels(source, target)
                target.flush()
                os.fsync(target.fileno())
    except (InvalidDicomError, EOFError, *PARSER_ERRORS) as error:
        raise SlideUnreadable("An instance of this DICOM slide is damaged.", value=path.name) from error
    changed.replace(path)
    return True


def image_kinds(header: Dataset) -> set[str]:
    """Return the values of ImageType, in capitals; none if it is not there. One value alone is read as plain text."""
    found = header.get("ImageType")
    values = [found] if isinstance(found, str) else found or ()
    return {str(value).strip().upper() for value in values}


def _check_kind(header: Dataset) -> None:
    if "YES" in (header.get("BurnedInAnnotation"), header.get("SpecimenLabelInImage")):
        raise DeidentifyRefused(
            "This DICOM slide says that writing, or its label, is in its picture of the tissue.", accepted="one without"
        )
    syntax = header.file_meta.TransferSyntaxUID
    if syntax in _REFUSED_SYNTAXES:
        raise DeidentifyRefused(
            "This server cannot strip DICOM instances of this transfer syntax.",
            value=syntax,
            accepted="explicit VR, little endian",
        )


def stripped_header(header: Dataset, uids: dict[str, str]) -> Dataset:
    """Return all that stays of the header of an instance.

    Args:
        header: As it was read.
        uids: Old identifier → new one; added to.
    """
    kept = Dataset()
    for element in header:
        if element.keyword in KEPT:
            kept[element.tag] = element
    _clean(kept, uids)
    for keyword in EMPTY:
        setattr(kept, keyword, "")
    for keyword, value in NEW.items():
        setattr(kept, keyword, value)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = kept.SOPClassUID
    meta.MediaStorageSOPInstanceUID = kept.SOPInstanceUID
    meta.TransferSyntaxUID = header.file_meta.TransferSyntaxUID
    kept.file_meta = meta
    return kept


def _clean(dataset: Dataset, uids: dict[str, str]) -> None:
    """Make the identifiers of a data set new, and remove names, dates, free text and private attributes."""
    for element in list(dataset):
        if element.tag.is_private or element.VR in TELLING_VRS:
            del dataset[element.tag]
        elif element.VR == "SQ":
            for item in element.value:
                _clean(item, uids)
        elif element.VR == "UI" and not str(element.value).startswith(STANDARD_UIDS):
            element.value = uids.setdefault(str(element.value), generate_uid())


def _copy_pixels(source: BinaryIO, target: BinaryIO) -> None:
    """Copy the pixel data, where `source` stands, and nothing that follows it."""
    head = _exactly(source, 12)
    if head[:4] != _PIXELS:
        raise ValueError("no pixel data")
    target.write(head)
    length = int.from_bytes(head[8:], "little")
    if length != _UNDEFINED:
        _copy(source, target, length)
        return
    while True:
        head = _exactly(source, 8)
        target.write(head)
        if head[:4] == _END:
            return
        if head[:4] != _ITEM:
            raise ValueError("no item of pixel data")
        _copy(source, target, int.from_bytes(head[4:], "little"))


def _exactly(source: BinaryIO, length: int) -> bytes:
    found = source.read(length)
    if len(found) != length:
        raise EOFError
    return found


def _copy(source: BinaryIO, target: BinaryIO, length: int) -> None:
    before = target.tell()
    end = source.tell() + length
    while source.tell() < end:
        target.write(_exactly(source, min(COPY_BYTES, end - source.tell())))
    if target.tell() - before != length:
        raise EOFError


def check_stripped(path: Path) -> None:
    """Read a stripped instance again, and see that it holds what is listed and no more.

    Raises:
        DeidentifyRefused: Something else is there.
    """
    with path.open("rb") as file:
        header = pydicom.dcmread(file, stop_before_pixels=True)
    allowed = KEPT | set(EMPTY) | set(NEW)
    others = sorted(element.keyword or str(element.tag) for element in header if element.keyword not in allowed)
    telling = [keyword for keyword in EMPTY if header.get(keyword)]
    nested = [element for element in header.iterall() if element.tag.is_private or element.VR in TELLING_VRS]
    found = [*others, *telling, *(str(element.tag) for element in nested if element.value)]
    kinds = image_kinds(header)
    if found or kinds & OTHER_PICTURES or not kinds & TISSUE_PICTURES:
        raise DeidentifyRefused("This DICOM slide cannot be stripped.", value=", ".join(found)[:200])
