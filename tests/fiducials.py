"""Slides with marks at known level-0 places, taken through the whole pipeline: what the readers' tests look for.

A plugin of `conftest.py`: `plain`, `bounded`, `odd` and `dicom` are finished jobs, made once; `job` is each of the
first three in turn.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tifffile
from dicom_slide import write_dicom
from numpy.typing import NDArray

from workers import product_tasks, stages
from workers.core.model_catalogue import find_model
from workers.core.products import FOLDER
from workers.core.schemas import JobRequest, Plan, SlideInfo
from workers.core.slides.reader import open_slide
from workers.core.store import Store, new_id

UInt8 = NDArray[np.uint8]
WIDTH, HEIGHT = 2304, 1536
SLIDE_MPP, MODEL_MPP = 0.25, 0.5
TILE = 256
CONFIDENCE, MARK_CONFIDENCE = 204, 102
"""Of what is bright, and of the marks."""
MOMENT = datetime(2026, 1, 2, tzinfo=UTC)


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
BOUNDS = (ABSENT_COLS * TILE, ABSENT_ROWS * TILE)


@dataclass(frozen=True)
class Drawn:
    """A marked slide: sides in level-0 px, µm per level-0 px as (x, y), columns and rows of tiles that are absent."""

    width: int = WIDTH
    height: int = HEIGHT
    mpp: tuple[float, float] = (SLIDE_MPP, SLIDE_MPP)
    marks: tuple[Mark, ...] = MARKS
    absent: tuple[int, int] = (0, 0)

    @property
    def pixels(self) -> UInt8:
        pixels = np.full((self.height, self.width, 3), 240, np.uint8)
        for mark in self.marks:
            pixels[mark.y : mark.y + mark.height, mark.x : mark.x + mark.width] = 40
        return pixels


PLAIN, BOUNDED = Drawn(), Drawn(absent=(ABSENT_COLS, ABSENT_ROWS))
ODD = Drawn(
    2311, 1543, (0.2431, 0.2437),
    (Mark(771, 517, 41, 63), Mark(1403, 623, 119, 31), Mark(1999, 1237, 65, 67), Mark(2274, 1510, 37, 33)),
)  # fmt: skip
"""No whole number anywhere: sides, edges, level-0 px per working px. The last mark is the corner of the slide."""


class DarkEngine:
    """Stands for a model: class 1 is what is dark."""

    def __init__(self, digest: str) -> None:
        self.digest = digest

    def predict(self, images: UInt8, w_origins: Sequence[tuple[int, int]], seed: int) -> tuple[UInt8, UInt8]:
        labels = (images.mean(axis=-1) < 140).astype(np.uint8)
        return labels, np.where(labels, MARK_CONFIDENCE, CONFIDENCE).astype(np.uint8)


@dataclass(frozen=True)
class Finished:
    """A succeeded job and its slide in a store."""

    store: Store
    job_id: str
    info: SlideInfo
    plan: Plan
    drawn: Drawn

    @property
    def folder(self) -> Path:
        return self.store.job_dir(self.job_id)

    @property
    def scale(self) -> tuple[float, float]:
        """Level-0 px per working px, (x, y)."""
        return MODEL_MPP / self.drawn.mpp[0], MODEL_MPP / self.drawn.mpp[1]

    @property
    def boxes(self) -> list[tuple[int, int, int, int]]:
        """The marks from left to right, in level-0 px."""
        return sorted(mark.box for mark in self.drawn.marks)

    @property
    def slack(self) -> float:
        """How far a border may be off, in level-0 px: one working px, and nothing where all numbers are whole."""
        return max(self.scale) if self.drawn is ODD else 0

    def product(self, name: str) -> Path:
        """Return a file or folder of the job, made now if it is one that is made on request."""
        path = self.folder / FOLDER / name
        if name in product_tasks.MAKERS and not path.exists():
            self.store.write_json(path.with_name(f"{name}.json"), product_tasks.make(self.store, self.job_id, name))
        return path if name in product_tasks.MAKERS else self.folder / name

    def assert_marked(self, present: NDArray[np.bool_], px: tuple[float, float] | None = None) -> None:
        """Check that the marks, and nothing else, are present in a picture of the whole slide.

        `px` is how many level-0 px its pixels are wide and high: as many as a working px, if none is given.
        """
        self.assert_marks(found_boxes(present, px or self.scale))

    def assert_marks(self, boxes: list[tuple[float, ...]], slack: float | None = None) -> None:
        """Check boxes in level-0 px of the full plane; `slack` is how far they may be off."""
        assert len(boxes) == len(self.boxes), boxes
        off = np.abs(np.array(sorted(boxes)) - np.array(self.boxes)).max()
        assert off <= (self.slack if slack is None else slack), boxes


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
    return finish(marked_store, write_tiff(tmp_path_factory.mktemp("slides") / "plain.tif", PLAIN), PLAIN)


@pytest.fixture(scope="session")
def bounded(marked_store: tuple[Store, Path], tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A job on the marked slide with absent tiles."""
    return finish(marked_store, write_tiff(tmp_path_factory.mktemp("slides") / "bounded.tif", BOUNDED), BOUNDED)


@pytest.fixture(scope="session")
def odd(marked_store: tuple[Store, Path], tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A job on the slide on which no number is whole."""
    return finish(marked_store, write_tiff(tmp_path_factory.mktemp("slides") / "odd.tif", ODD), ODD)


@pytest.fixture(params=["plain", "bounded", "odd"])
def job(request: pytest.FixtureRequest) -> Finished:
    """Each of the three TIFF slides' jobs in turn."""
    finished: Finished = request.getfixturevalue(request.param)
    return finished


@pytest.fixture(scope="session")
def dicom(marked_store: tuple[Store, Path], tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A job on the marked slide as DICOM."""
    return finish(
        marked_store, write_dicom(tmp_path_factory.mktemp("slides") / "slide.dcm", PLAIN.pixels, SLIDE_MPP), PLAIN
    )


def finish(marked_store: tuple[Store, Path], slide_path: Path, drawn: Drawn) -> Finished:
    """Take a slide through plan, segmentation and finish."""
    store, models_dir = marked_store
    model = "made-model"
    card = find_model(models_dir, model)
    job_id, slide_id = new_id(), new_id()
    request = JobRequest(slide_id=slide_id, model=model, region_px=512, tissue=False)
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
    return Finished(store, job_id, info, plan, drawn)


def write_tiff(path: Path, drawn: Drawn) -> Path:
    """Write a marked slide as a tiled pyramid: each px of the second level is the mean of four, as scanners have it."""
    from conftest import resolution_of

    pixels = drawn.pixels
    even = np.pad(pixels, ((0, drawn.height % 2), (0, drawn.width % 2), (0, 0)), mode="edge")
    half = even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2, 3).mean(axis=(1, 3)).astype(np.uint8)
    with tifffile.TiffWriter(path) as tiff:
        for level, picture in enumerate((pixels, half)):
            tiff.write(
                picture, photometric="rgb", tile=(TILE, TILE), compression="zlib", metadata=None,
                subfiletype=1 if level else 0, **resolution_of(drawn.mpp, 2**level),
            )  # fmt: skip
    if drawn.absent != (0, 0):
        remove_tiles(path, *drawn.absent)
    return path


def remove_tiles(path: Path, cols: int = ABSENT_COLS, rows: int = ABSENT_ROWS) -> None:
    """Take tiles away from the left and the top of all levels: offset and length 0 say that a TIFF has none there."""
    places: list[tuple[int, int]] = []
    with tifffile.TiffFile(path) as tiff:
        for level, page in enumerate(tiff.pages):
            assert isinstance(page, tifffile.TiffPage)
            across, down = -(-page.imagewidth // TILE), -(-page.imagelength // TILE)
            row, col = np.indices((down, across))
            gone = np.flatnonzero((row < rows >> level) | (col < cols >> level))
            for name in ("TileOffsets", "TileByteCounts"):
                tag = page.tags[name]
                size = {3: 2, 4: 4}[tag.dtype]
                places += [(tag.valueoffset + int(index) * size, size) for index in gone]
    with path.open("r+b") as file:
        for place, size in places:
            file.seek(place)
            file.write(struct.pack("<I", 0)[:size])


def found_boxes(present: NDArray[np.bool_], px: tuple[float, float] = (1, 1)) -> list[tuple[float, ...]]:
    """Return the boxes (left, top, right, bottom) of connected marks, sorted by x, as positions × `px`, (x, y)."""
    from scipy import ndimage

    labelled, _ = ndimage.label(present)
    slices = ndimage.find_objects(labelled)
    boxes = [(cols.start * px[0], rows.start * px[1], cols.stop * px[0], rows.stop * px[1]) for rows, cols in slices]
    return sorted(boxes)
