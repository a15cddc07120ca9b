"""Slides with marks at known level-0 places, taken through the whole pipeline: what the readers' tests look for.

A plugin of `conftest.py`: `plain`, `bounded` and `dicom` are finished jobs, made once.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
import pytest
import tifffile
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from workers import stages
from workers.core.catalog import find_model
from workers.core.schemas import JobRequest, OutputName, Plan, SlideInfo
from workers.core.slides import open_slide
from workers.core.store import Store, new_id

UInt8 = NDArray[np.uint8]
WIDTH, HEIGHT = 2304, 1536
SLIDE_MPP, MODEL_MPP = 0.25, 0.5
TILE = 256
CONFIDENCE = 204
MOMENT = datetime(2026, 1, 2, tzinfo=UTC)
OUTPUTS: tuple[OutputName, ...] = ("overlay.ome.tif", "labels.ome.tif", "regions.geojson.gz", "statistics.json")


class Mark(NamedTuple):
    """A dark rectangle, in level-0 px of the full plane."""

    x: int
    y: int
    width: int
    height: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        return self.x, self.y, self.x + self.width, self.y + self.height


MARKS = (Mark(768, 512, 40, 60), Mark(1400, 620, 120, 30), Mark(2000, 1240, 64, 64))
"""All of them within the tiles that the slide with absent tiles has."""
ABSENT_COLS, ABSENT_ROWS = 2, 1
"""Columns at the left and rows at the top of the tiles that are absent: OpenSlide makes bounds of it."""


def marked_pixels() -> UInt8:
    pixels = np.full((HEIGHT, WIDTH, 3), 240, np.uint8)
    for mark in MARKS:
        pixels[mark.y : mark.y + mark.height, mark.x : mark.x + mark.width] = 40
    return pixels


class DarkEngine:
    """Stands for a model: class 1 is what is dark."""

    def __init__(self, digest: str) -> None:
        self.digest = digest

    def predict(self, images: UInt8, w_origins: Sequence[tuple[int, int]], seed: int) -> tuple[UInt8, UInt8]:
        labels = (images.mean(axis=-1) < 140).astype(np.uint8)
        return labels, np.full(labels.shape, CONFIDENCE, np.uint8)


@dataclass(frozen=True)
class Finished:
    """A succeeded job and its slide in a store."""

    store: Store
    job_id: str
    info: SlideInfo
    plan: Plan

    @property
    def folder(self) -> Path:
        return self.store.job_dir(self.job_id)


@pytest.fixture(scope="session")
def marked_store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Path]:
    """A store, and a folder with the model `made-model`."""
    from conftest import write_model_config

    folder = tmp_path_factory.mktemp("marked")
    write_model_config(folder / "models" / "made-model")
    return Store(folder / "data"), folder / "models"


@pytest.fixture(scope="session")
def plain(marked_store: tuple[Store, Path], tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A job on the marked slide."""
    path = write_tiff(tmp_path_factory.mktemp("slides") / "plain.tif", absent=False)
    return finish(marked_store[0], path, marked_store[1])


@pytest.fixture(scope="session")
def bounded(marked_store: tuple[Store, Path], tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A job on the marked slide with absent tiles."""
    path = write_tiff(tmp_path_factory.mktemp("slides") / "bounded.tif", absent=True)
    return finish(marked_store[0], path, marked_store[1])


@pytest.fixture(scope="session")
def dicom(marked_store: tuple[Store, Path], tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A job on the marked slide as DICOM."""
    path = write_dicom(tmp_path_factory.mktemp("slides") / "slide.dcm")
    return finish(marked_store[0], path, marked_store[1])


def finish(store: Store, slide_path: Path, models_dir: Path, model: str = "made-model") -> Finished:
    """Take a slide through plan, segmentation and finish."""
    card = find_model(models_dir, model)
    job_id, slide_id = new_id(), new_id()
    request = JobRequest(slide_id=slide_id, model=model, region_px=512, tissue=False, outputs=OUTPUTS)
    with store.incoming() as folder:
        stored = folder / f"original{slide_path.suffix}"
        stored.write_bytes(slide_path.read_bytes())
        with open_slide(stored) as slide:
            info = SlideInfo(
                id=slide_id, filename=slide_path.name, size_bytes=stored.stat().st_size, sha256="a" * 64,
                vendor=slide.vendor, backend=slide.backend, geometry=slide.geometry, created_at=MOMENT,
            )  # fmt: skip
        store.commit_slide(info, folder)
    store.save_request(job_id, request, MOMENT)
    out, engine = store.job_dir(job_id), DarkEngine(card.digest)
    with open_slide(store.slide_file(slide_id)) as slide:
        plan = stages.plan_job(slide, info, request, card, out, job_id)
        for index in plan.regions:
            stages.segment_one(slide, plan, index, engine, out)
        stages.finish_job(slide, info, plan, out, created_at=MOMENT, timings_s={})
    return Finished(store, job_id, info, plan)


def write_tiff(path: Path, *, absent: bool) -> Path:
    """Write the marked slide as a tiled pyramid; `absent` takes tiles away from all levels' upper left."""
    pixels = marked_pixels()
    with tifffile.TiffWriter(path) as tiff:
        for level in range(2):
            step = 2**level
            resolution = (10_000 / (SLIDE_MPP * step),) * 2
            tiff.write(
                pixels[::step, ::step], photometric="rgb", tile=(TILE, TILE), compression="zlib", metadata=None,
                subfiletype=1 if level else 0, resolution=resolution, resolutionunit="centimeter",
            )  # fmt: skip
    if absent:
        _remove_tiles(path)
    return path


def _remove_tiles(path: Path) -> None:
    """Set offset and length of tiles to 0, which is how a TIFF says that it has none there."""
    places: list[tuple[int, int]] = []
    with tifffile.TiffFile(path) as tiff:
        for level, page in enumerate(tiff.pages):
            assert isinstance(page, tifffile.TiffPage)
            across, down = -(-page.imagewidth // TILE), -(-page.imagelength // TILE)
            cols, rows = ABSENT_COLS >> level, ABSENT_ROWS >> level
            gone = [row * across + col for row in range(down) for col in range(across) if row < rows or col < cols]
            for name in ("TileOffsets", "TileByteCounts"):
                tag = page.tags[name]
                size = {3: 2, 4: 4}[tag.dtype]
                places += [(tag.valueoffset + index * size, size) for index in gone]
    with path.open("r+b") as file:
        for place, size in places:
            file.seek(place)
            file.write(struct.pack("<I", 0)[:size])


def write_dicom(path: Path) -> Path:
    """Write the marked slide as one uncompressed, tiled VL Whole Slide Microscopy instance."""
    pixels = marked_pixels()
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
    image.TotalPixelMatrixColumns, image.TotalPixelMatrixRows = WIDTH, HEIGHT
    image.TotalPixelMatrixFocalPlanes, image.NumberOfOpticalPaths = 1, 1
    image.ImagedVolumeWidth, image.ImagedVolumeHeight = WIDTH * SLIDE_MPP / 1000, HEIGHT * SLIDE_MPP / 1000
    image.ImagedVolumeDepth = 0.001
    image.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
    origin = _item(XOffsetInSlideCoordinateSystem=20.0, YOffsetInSlideCoordinateSystem=40.0)
    image.TotalPixelMatrixOriginSequence = Items([origin])
    image.OpticalPathSequence = Items([_item(OpticalPathIdentifier="1")])
    image.SpecimenDescriptionSequence = Items([_item(SpecimenIdentifier="s", SpecimenUID=generate_uid())])
    image.DimensionOrganizationType = "TILED_FULL"
    measures = _item(PixelSpacing=[SLIDE_MPP / 1000] * 2, SliceThickness=0.001)
    image.SharedFunctionalGroupsSequence = Items([_item(PixelMeasuresSequence=Items([measures]))])
    image.SamplesPerPixel, image.PhotometricInterpretation, image.PlanarConfiguration = 3, "RGB", 0
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 8, 8, 7, 0
    image.BurnedInAnnotation, image.LossyImageCompression = "NO", "00"
    tiles = pixels.reshape(HEIGHT // TILE, TILE, WIDTH // TILE, TILE, 3).swapaxes(1, 2)
    image.NumberOfFrames = tiles.shape[0] * tiles.shape[1]
    image.PixelData = np.ascontiguousarray(tiles).tobytes()
    image.save_as(path, enforce_file_format=True)
    return path


def _item(**values: object) -> Dataset:
    item = pydicom.Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return item


def found_boxes(present: NDArray[np.bool_], scale: float = 1.0) -> list[tuple[int, ...]]:
    """Return the boxes of connected marks, sorted by x, as positions × scale."""
    from scipy import ndimage

    labelled, _ = ndimage.label(present)
    boxes = [(cols.start, rows.start, cols.stop, rows.stop) for rows, cols in ndimage.find_objects(labelled)]
    return sorted(tuple(round(edge * scale) for edge in box) for box in boxes)
