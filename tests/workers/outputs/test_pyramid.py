"""Pyramids as viewers read them: OpenSlide and tifffile open them and find the same labels on all levels."""

import struct
import xml.etree.ElementTree as ET
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from workers.core.label_layout import level_steps
from workers.core.schemas import Plan
from workers.outputs import ometiff, pyramid
from workers.outputs.levels import Levels
from workers.pipeline import stitch
from workers.pipeline.tiling import WorkingPlane, regions

UInt8 = NDArray[np.uint8]
MakePlan = Callable[..., Plan]
WRITERS = {"overlay": pyramid.write_overlay, "labels": pyramid.write_labels}
LEGAL = (0, 1, 2, 4)
OME = "{http://www.openmicroscopy.org/Schemas/OME/2016-06}"


def speckles(height: int, width: int) -> UInt8:
    """Every pixel another class than its neighbours, so that averaging anywhere would show; an empty band amid them."""
    labels = np.random.default_rng(7).choice(np.array(LEGAL, np.uint8), (height, width))
    labels[height // 4 : height // 2] = 0
    return labels


@pytest.fixture(params=[(1300, 2100), (513, 512), (512, 512), (1, 1), (40, 1030)], ids=str)
def labels(request: pytest.FixtureRequest) -> UInt8:
    return speckles(*request.param)


@pytest.fixture
def write(make_plan: MakePlan, watched: Callable[..., Any], tmp_path: Path) -> Callable[..., Path]:
    def make(kind: str, labels: UInt8, **changes: Any) -> Path:
        path = tmp_path / f"{kind}.ome.tif"
        array = watched(labels, 256)
        with Levels(array, tmp_path) as levels:
            WRITERS[kind](path, levels, make_plan(labels.shape[1], labels.shape[0], **changes))
        return path

    return make


@pytest.mark.parametrize("kind", WRITERS)
def test_tifffile_finds_one_ome_series_whose_levels_are_every_other_pixel(
    write: Callable[..., Path], labels: UInt8, kind: str
) -> None:
    with tifffile.TiffFile(write(kind, labels)) as tiff:
        assert tiff.is_bigtiff
        assert [series.kind for series in tiff.series] == ["ome"]
        levels = tiff.series[0].levels
        for k, level in enumerate(levels):
            np.testing.assert_array_equal(level.asarray(), labels[:: 2**k, :: 2**k])
        longer = max(labels.shape)
        assert -(-longer // 2 ** (len(levels) - 1)) <= 512
        assert len(levels) == 1 or -(-longer // 2 ** (len(levels) - 2)) > 512


@pytest.mark.parametrize("kind", WRITERS)
def test_every_tile_of_every_level_is_there(write: Callable[..., Path], kind: str) -> None:
    labels = np.zeros((1300, 2100), np.uint8)
    with tifffile.TiffFile(write(kind, labels)) as tiff:
        for level in tiff.series[0].levels:
            page = level.keyframe
            tiles = -(-page.imagelength // 512) * -(-page.imagewidth // 512)
            assert (page.tilelength, page.tilewidth) == (512, 512)
            assert len(page.databytecounts) == tiles
            assert min(page.databytecounts) > 0
            assert (page.compression, page.predictor) == (tifffile.COMPRESSION.ADOBE_DEFLATE, 1)


@pytest.mark.parametrize("model_mpp", [0.5, 0.2465, 0.25212345678])
@pytest.mark.parametrize("kind", WRITERS)
def test_every_level_says_its_own_resolution(write: Callable[..., Path], kind: str, model_mpp: float) -> None:
    with tifffile.TiffFile(write(kind, speckles(600, 1100), model_mpp=model_mpp)) as tiff:
        levels = tiff.series[0].levels
        assert len(levels) == 3
        for k, level in enumerate(levels):
            tags = level.keyframe.tags
            assert tags["ResolutionUnit"].value == tifffile.RESUNIT.CENTIMETER
            for axis in ("XResolution", "YResolution"):
                assert 10_000 / Fraction(*tags[axis].value) == pytest.approx(model_mpp * 2**k, rel=1e-9)


def test_openslide_shows_all_levels_of_the_overlay_in_the_classes_colours(
    write: Callable[..., Path], make_plan: MakePlan, labels: UInt8
) -> None:
    colors = np.full((256, 3), 255, np.uint8)  # 0 is white, whatever colour the model gives its background
    for each in make_plan(1, 1).classes[1:]:
        colors[each.index] = each.color
    with openslide.OpenSlide(write("overlay", labels)) as slide:
        steps = level_steps(labels.shape[1], labels.shape[0])
        assert slide.level_count == len(steps)
        for k, step in enumerate(steps):
            wanted = colors[labels[::step, ::step]]
            assert slide.level_dimensions[k] == (wanted.shape[1], wanted.shape[0])
            shown = np.asarray(slide.read_region((0, 0), k, slide.level_dimensions[k]))
            np.testing.assert_array_equal(shown[..., :3], wanted)
            assert (shown[..., 3] == 255).all()
        assert float(slide.properties["openslide.mpp-x"]) == 0.5
        assert float(slide.properties["openslide.mpp-y"]) == 0.5
        assert not [name for name in slide.properties if name.startswith("openslide.bounds")]


def test_the_colour_map_has_sixteen_bits(write: Callable[..., Path]) -> None:
    with tifffile.TiffFile(write("overlay", speckles(600, 600))) as tiff:
        for level in tiff.series[0].levels:
            colors = level.keyframe.colormap
            assert colors is not None
            assert colors[:, :3].T.tolist() == [
                [65535] * 3,
                [200 * 257, 30 * 257, 60 * 257],
                [20 * 257, 130 * 257, 60 * 257],
            ]


def test_an_overlay_without_a_single_label_has_no_bounds_either(write: Callable[..., Path]) -> None:
    with openslide.OpenSlide(write("overlay", np.zeros((1100, 1700), np.uint8))) as slide:
        assert slide.dimensions == (1700, 1100)
        assert not [name for name in slide.properties if name.startswith("openslide.bounds")]


def test_the_overlay_links_its_levels_as_pages_and_the_mask_does_not(write: Callable[..., Path]) -> None:
    labels = speckles(1300, 2100)
    for kind, pages in (("overlay", 4), ("labels", 1)):
        with tifffile.TiffFile(write(kind, labels)) as tiff:
            assert len(tiff.pages) == pages
            offsets = [tiff.pages.first.offset, *tiff.pages.first.tags["SubIFDs"].value]
            assert [page.offset for page in tiff.pages] == offsets[:pages]
            assert [level.keyframe.subfiletype for level in tiff.series[0].levels] == [0, 1, 1, 1]


def test_linking_levels_changes_nothing_but_next_pointers(write: Callable[..., Path]) -> None:
    path = write("labels", speckles(1300, 2100))
    before = path.read_bytes()
    ometiff.chain_levels(path)
    after = path.read_bytes()
    with tifffile.TiffFile(path) as tiff:
        offsets = [page.offset for page in tiff.pages]
    pointers = [ifd + 8 + 20 * struct.unpack_from("<Q", before, ifd)[0] for ifd in offsets]
    unlinked = [bytearray(before), bytearray(after)]
    for file in unlinked:
        for pointer in pointers:
            file[pointer : pointer + 8] = bytes(8)
    assert unlinked[0] == unlinked[1]
    assert [struct.unpack_from("<Q", after, pointer)[0] for pointer in pointers] == [*offsets[1:], 0]


def test_the_mask_is_grey_and_the_overlay_a_palette(write: Callable[..., Path]) -> None:
    labels = speckles(600, 600)
    for kind, photometric in (("labels", "MINISBLACK"), ("overlay", "PALETTE")):
        with tifffile.TiffFile(write(kind, labels)) as tiff:
            for level in tiff.series[0].levels:
                assert level.keyframe.photometric == tifffile.PHOTOMETRIC[photometric]
                assert level.dtype == np.uint8


@pytest.mark.parametrize("kind", WRITERS)
def test_the_ome_xml_gives_size_pixel_size_and_class_names(write: Callable[..., Path], kind: str) -> None:
    with tifffile.TiffFile(write(kind, speckles(600, 700), model_mpp=0.25)) as tiff:
        tag = tiff.pages.first.tags["ImageDescription"]
        tiff.filehandle.seek(tag.valueoffset)
        xml = tiff.filehandle.read(tag.count).rstrip(b"\0")
    assert b"&#" not in xml  # Bio-Formats would read "µm" as an unknown unit and show one level
    root = ET.fromstring(xml)
    pixels = root.find(f"{OME}Image/{OME}Pixels")
    assert pixels is not None
    found = {name: pixels.get(name) for name in ("SizeX", "SizeY", "Type", "PhysicalSizeX", "PhysicalSizeXUnit")}
    assert found == {
        "SizeX": "700",
        "SizeY": "600",
        "Type": "uint8",
        "PhysicalSizeX": "0.25",
        "PhysicalSizeXUnit": "µm",
    }
    assert (pixels.get("PhysicalSizeY"), pixels.get("PhysicalSizeYUnit")) == ("0.25", "µm")
    names, colors = root.findall(f"{OME}StructuredAnnotations/{OME}MapAnnotation")
    assert {entry.get("K"): entry.text for entry in names.iter(f"{OME}M")} == {
        "0": "background",
        "1": "nucleus",
        "2": "stroma",
        "4": "café <µ>",
    }
    assert {entry.get("K"): entry.text for entry in colors.iter(f"{OME}M")}["1"] == "#c81e3c"
    references = [reference.get("ID") for reference in root.iter(f"{OME}AnnotationRef")]
    assert references == [names.get("ID"), colors.get("ID")]


@pytest.mark.parametrize("kind", WRITERS)
def test_the_same_labels_give_the_same_bytes_whatever_the_regions(
    make_plan: MakePlan, tmp_path: Path, kind: str
) -> None:
    labels = speckles(700, 1100)
    files = []
    for region_px in (256, 512):
        plan = make_plan(1100, 700, region_px)
        folder = tmp_path / str(region_px)
        folder.mkdir()
        stitch.create_label_array(folder, plan)
        for region in regions(WorkingPlane.from_plan(plan), region_px):
            core = labels[region.w_y0 : region.w_y1, region.w_x0 : region.w_x1]
            stitch.write_region(folder, plan, region, core, core)
        with Levels(stitch.open_labels(folder).labels, folder) as levels:
            WRITERS[kind](folder / "made.tif", levels, plan)
        files.append((folder / "made.tif").read_bytes())
        assert [path.name for path in sorted(folder.iterdir())] == ["labels.zarr", "made.tif"]
    assert files[0] == files[1]


def test_a_failed_write_leaves_the_old_file_and_no_other(
    make_plan: MakePlan, watched: Callable[..., Any], tmp_path: Path
) -> None:
    class Broken:
        shape = (600, 600)
        chunks = (256, 256)

        def __getitem__(self, key: Any) -> Any:
            message = "no such chunk"
            raise OSError(message)

    path = tmp_path / "overlay.ome.tif"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="no such chunk"):
        pyramid.write_overlay(path, Levels(Broken(), tmp_path), make_plan(600, 600))
    assert [each.name for each in tmp_path.iterdir()] == ["overlay.ome.tif"]
    assert path.read_bytes() == b"old"


@given(mpp=st.fractions(Fraction(1, 1000), Fraction(1000)))
def test_resolution_fits_its_tag_and_is_as_exact_as_the_tag(mpp: Fraction) -> None:
    numerator, denominator = ometiff.pixels_per_cm(mpp)
    assert 0 < numerator < 2**32
    assert 0 < denominator < 2**32
    assert abs(Fraction(numerator, denominator) * mpp / 10_000 - 1) < Fraction(1, 10**6)
