"""What is read of an OME-Zarr, and what is said of the rest: levels, sizes, channels, planes, images."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from ome_zarr_models.v04.image import ImageAttrs
from ome_zarr_models.v05 import Image

from benchmarks.format_slides import section
from benchmarks.format_zarr import planes_of, write_image, zipped
from workers.core.errors.base import SlideUnreadable
from workers.core.slides.doubts import doubts_of
from workers.core.slides.modality import modality_of
from workers.core.slides.readers.registry import format_of, open_slide

OME_XML = '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">{}</OME>'
IMAGE = (
    '<Image ID="Image:{0}" Name="{1}"><Pixels ID="Pixels:{0}" DimensionOrder="XYCZT" Type="uint8" SizeX="{2}" '
    'SizeY="{3}" SizeC="3" SizeZ="1" SizeT="1" PhysicalSizeX="{4}" PhysicalSizeY="{4}"/></Image>'
)


@pytest.fixture(scope="module")
def planes() -> np.ndarray[Any, np.dtype[np.uint8]]:
    return planes_of(section(width=384, height=320))


@pytest.fixture(params=["0.4", "0.5"])
def made(request: pytest.FixtureRequest, tmp_path: Path, planes: Any) -> Path:
    """An OME-Zarr of three levels, of each version."""
    return write_image(tmp_path / "a.ome.zarr", planes, version=request.param, name="section")


def change(folder: Path, edit: Callable[[Any], None], group: str = "") -> Path:
    """Change what NGFF says of an image."""
    path = folder / group / "zarr.json"
    path = path if path.exists() else folder / group / ".zattrs"
    content = json.loads(path.read_text())
    edit(content["attributes"]["ome"] if path.name == "zarr.json" else content)
    path.write_text(json.dumps(content))
    return folder


def codes(path: Path, image: int | None = None) -> list[str]:
    with open_slide(path, image) as slide:
        return [each.code for each in (*slide.warnings, *doubts_of(path, image))]


def test_what_the_tests_write_is_an_ome_zarr_by_the_models_of_others(made: Path) -> None:
    group = zarr.open_group(made, mode="r")
    if group.metadata.zarr_format == 3:
        assert Image.from_zarr(group).ome_attributes.version == "0.5"
    else:
        ImageAttrs.model_validate(group.attrs.asdict())


def test_levels_sizes_and_name(made: Path, tmp_path: Path) -> None:
    for path in (
        made,
        zipped(made, tmp_path / "a.zip"),
        zipped(made, tmp_path / "b.zip", "case 7.ome.zarr/", packed=True),
    ):
        assert format_of(path).name == "ome-zarr"
        with open_slide(path) as slide:
            levels = [(each.width, each.height, each.downsample, each.tile_width) for each in slide.geometry.levels]
            assert levels == [(384, 320, 1, 128), (192, 160, 2, 128), (96, 80, 4, 128)]
            assert (slide.geometry.mpp_x, slide.geometry.mpp_y, slide.geometry.mpp_origin) == (0.5, 0.5, "zarr")
            assert [(each.name, each.mpp) for each in slide.content.images] == [("section", (0.5, 0.5))]
            assert modality_of(slide).name == "brightfield_he"
        assert codes(path) == []


def test_sizes_of_a_px_come_from_scale_and_unit_of_both_places(made: Path) -> None:
    def of_all(said: Any) -> None:
        said["multiscales"][0]["coordinateTransformations"] = [{"type": "scale", "scale": [1, 0.5, 0.25]}]

    with open_slide(change(made, of_all)) as slide:
        assert (slide.geometry.mpp_x, slide.geometry.mpp_y) == (0.125, 0.25)
    assert codes(made) == ["mpp_uneven"]


@pytest.mark.parametrize(
    ("unit", "mpp"),
    [
        ("micrometer", 0.5), ("µm", 0.5), ("um", 0.5), ("micron", 0.5), ("nanometer", None), ("millimeter", None),
        ("pixel", None), ("", None), (None, None), ("MICROMETER", None),
    ],
)  # fmt: skip
def test_a_unit_is_a_length_or_there_is_no_size(made: Path, unit: str | None, mpp: float | None) -> None:
    def set_unit(said: Any) -> None:
        for axis in said["multiscales"][0]["axes"][1:]:
            axis["unit"] = unit

    with open_slide(change(made, set_unit)) as slide:
        assert slide.geometry.mpp_x == mpp
        assert (slide.geometry.implausible_mpp is not None) == (unit in ("nanometer", "millimeter"))


def test_a_scale_that_the_size_of_a_level_contradicts_is_said(made: Path) -> None:
    def scale(said: Any) -> None:
        said["multiscales"][0]["datasets"][1]["coordinateTransformations"][0]["scale"][1:] = [1.5, 1.5]

    with open_slide(change(made, scale)) as slide:
        assert [each.downsample for each in slide.geometry.levels] == [1, 2, 4]
        (warning,) = slide.warnings
    assert (warning.code, str(warning.value)) == (
        "level_contradicted",
        "level 1: 192 x 160, downsample 2, 3 by its scale",
    )


@pytest.mark.parametrize("shape", [(641, 769), (650, 775), (999, 513)])
def test_sizes_that_are_rounded_contradict_no_scale(tmp_path: Path, shape: tuple[int, int]) -> None:
    """Levels of 2^k are rounded up or down, or each from the one before it."""
    pixels = np.full((3, *shape), 240, np.uint8)
    folder = write_image(tmp_path / "a.zarr", pixels, factors=(1, 2, 4, 8, 16))
    with open_slide(folder) as slide:
        assert [each.downsample for each in slide.geometry.levels] == [1, 2, 4, 8, 16]
        assert [each.code for each in slide.warnings] == []


def test_a_level_that_is_not_there_or_elsewhere_is_said(made: Path) -> None:
    for path in (made / "1").glob("*.json"), (made / "1").glob(".zarray"):
        for each in path:
            each.rename(made / "gone")
    assert codes(made) == ["level_unusable"]

    def shift(said: Any) -> None:
        steps = said["multiscales"][0]["datasets"][2]["coordinateTransformations"]
        steps.append({"type": "translation", "translation": [0, 64, 0]})

    with open_slide(change(made, shift)) as slide:
        assert [each.downsample for each in slide.geometry.levels] == [1]
        assert [each.code for each in slide.warnings] == ["level_unusable"] * 2

    def centres(said: Any) -> None:
        steps = said["multiscales"][0]["datasets"][2]["coordinateTransformations"]
        steps[1]["translation"] = [0, 0.75, 0.75]

    with open_slide(change(made, centres)) as slide:
        assert [each.downsample for each in slide.geometry.levels] == [1, 4]


def test_levels_in_another_order_are_read_by_their_sizes(made: Path) -> None:
    with open_slide(change(made, lambda said: said["multiscales"][0]["datasets"].reverse())) as slide:
        assert ([each.width for each in slide.geometry.levels], slide.geometry.mpp_x) == ([384, 192, 96], 0.5)


def test_an_array_that_no_image_speaks_of_is_said(made: Path) -> None:
    assert codes(change(made, lambda said: said["multiscales"][0]["datasets"].pop(0))) == ["directories_unread"]


@pytest.mark.parametrize(
    ("names", "shown", "kind"),
    [
        (None, ("channel 1", "channel 2", "channel 3"), "brightfield_he"),
        (["Channel 0", "Channel 1", "Channel 2"], ("channel 1", "channel 2", "channel 3"), "brightfield_he"),
        (["0", "1", "2"], ("channel 1", "channel 2", "channel 3"), "brightfield_he"),
        (["Red", "green", "Blue"], (), "brightfield_he"),
        (["R", "G", "B"], (), "brightfield_he"),
        (["DAPI", "FITC", "Cy5"], ("DAPI", "FITC", "Cy5"), "fluorescence"),
    ],
)
def test_three_channels_are_colours_by_the_rule_of_ome_tiff(
    tmp_path: Path, planes: Any, names: list[str] | None, shown: tuple[str, ...], kind: str
) -> None:
    with open_slide(write_image(tmp_path / "a.zarr", planes, channels=names)) as slide:
        assert slide.content.channels == shown
        assert modality_of(slide).name == kind


OMERO: list[Any] = [
    None,
    [],
    7,
    {"channels": None},
    {"channels": {}},
    {"channels": [None, {"label": 3}, {"label": "a\x1b[2J"}]},
]


@pytest.mark.parametrize("omero", OMERO)
def test_names_that_are_none_are_no_reason_to_refuse(made: Path, omero: Any) -> None:
    def edit(said: Any) -> None:
        said["omero"] = omero
        said["multiscales"][0] |= {"name": 5, "coordinateTransformations": None}

    with open_slide(change(made, edit)) as slide:
        assert slide.content.channels in (
            ("channel 1", "channel 2", "channel 3"),
            ("channel 1", "channel 2", "a[2J"),
        )
        assert (slide.content.images[0].name, slide.geometry.mpp_x) == ("", 0.5)


def test_unnamed_channels_on_a_dark_ground_are_fluorescence(tmp_path: Path, planes: Any) -> None:
    with open_slide(write_image(tmp_path / "a.zarr", (255 - planes) // 2)) as slide:
        assert modality_of(slide).name == "fluorescence"


def test_channels_planes_and_moments_that_are_not_read_are_said(tmp_path: Path) -> None:
    pixels = np.zeros((2, 5, 3, 64, 64), np.uint8)
    folder = write_image(tmp_path / "a.zarr", pixels, "tczyx", factors=(1,), channels=["a", "b", "c", "d", "e"])
    with open_slide(folder) as slide:
        assert [(each.code, each.value) for each in slide.warnings] == [
            ("planes_unread", "plane 2 of 3, moment 1 of 2"),
            ("channels_unread", "d, e"),
        ]
        assert (slide.content.z_planes, slide.content.z_read, slide.content.times) == (3, 1, 2)


# --- several images ---------------------------------------------------------------------------------------------------


def write_several(folder: Path, version: str, *, series: list[str] | None = None, xml: str | None = None) -> Path:
    """Write three images, the largest in the middle, in the layout of bioformats2raw."""
    layout: dict[str, Any] = {"bioformats2raw.layout": 3}
    is_3 = version == "0.5"
    zarr.create_group(
        folder, zarr_format=3 if is_3 else 2, attributes={"ome": {"version": version, **layout}} if is_3 else layout
    )
    for group, size in (("0", 128), ("1", 256), ("2", 64)):
        pixels = np.full((3, size, size), size // 2, np.uint8)
        write_image(folder, pixels, version=version, group=group, factors=(1,), name=f"image {group}")
    if series is not None or xml is not None:
        attributes: dict[str, Any] = {"series": series or ["0", "1", "2"]}
        zarr.create_group(
            folder, path="OME", zarr_format=3 if is_3 else 2, attributes={"ome": attributes} if is_3 else attributes
        )
    if xml is not None:
        (folder / "OME" / "METADATA.ome.xml").write_text(xml)
    return folder


def xml_of(*images: tuple[str, int, float]) -> str:
    return OME_XML.format("".join(IMAGE.format(i, name, size, size, mpp) for i, (name, size, mpp) in enumerate(images)))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_of_several_images_the_largest_is_read_or_the_one_that_is_named(tmp_path: Path, version: str) -> None:
    folder = write_several(tmp_path / "a.zarr", version)
    with open_slide(folder) as slide:
        assert [(each.name, each.width, each.kind) for each in slide.content.images] == [
            ("image 0", 128, "slide"), ("image 1", 256, "slide"), ("image 2", 64, "slide"),
        ]  # fmt: skip
        assert (slide.content.image, slide.geometry.l0_width) == (1, 256)
        assert [(each.code, each.value) for each in slide.warnings] == [("images_unread", "0: image 0, 2: image 2")]
    with open_slide(folder, 2) as slide:
        assert (slide.content.image, slide.geometry.l0_width, slide.warnings) == (2, 64, ())
        assert slide.read_level(0, 5, 5, 1, 1)[0, 0].tolist() == [32, 32, 32]
    with pytest.raises(SlideUnreadable, match="no image of this number"):
        open_slide(folder, 3)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_series_and_xml_say_order_names_and_what_is_no_slide(tmp_path: Path, version: str) -> None:
    xml = xml_of(("label image", 64, 0.5), ("scan", 256, 0.5), ("macro image", 128, 0.5))
    folder = write_several(tmp_path / "a.zarr", version, series=["2", "1", "0"], xml=xml)
    with open_slide(folder) as slide:
        assert [(each.name, each.kind) for each in slide.content.images] == [
            ("label image", "associated"), ("scan", "slide"), ("macro image", "associated"),
        ]  # fmt: skip
        assert (slide.content.associated, slide.warnings) == (("label image", "macro image"), ())


def test_an_xml_that_says_otherwise_is_said(tmp_path: Path) -> None:
    images = [("a", 128, 0.5), ("b", 256, 0.25), ("c", 64, 0.5)]
    path = write_several(tmp_path / "a.zarr", "0.4", xml=xml_of(*images))
    assert codes(path, 1) == ["mpp_contradicted"]
    assert codes(path, 0) == []
    for other in (images[:2], [("a", 128, 0.5), ("b", 250, 0.5), ("c", 64, 0.5)]):
        (path / "OME" / "METADATA.ome.xml").write_text(xml_of(*other))
        assert codes(path, 1) == ["xml_contradicted"]


def test_the_xml_says_the_size_of_a_px_where_the_scale_does_not(tmp_path: Path) -> None:
    xml = xml_of(("a", 128, 0.5), ("b", 256, 0.25), ("c", 64, 0.5))
    path = write_several(tmp_path / "a.zarr", "0.4", xml=xml)

    def no_unit(said: Any) -> None:
        said["multiscales"][0]["axes"] = [{"name": each["name"]} for each in said["multiscales"][0]["axes"]]

    with open_slide(change(path, no_unit, "1"), 1) as slide:
        assert (slide.geometry.mpp_x, slide.geometry.mpp_origin) == (0.25, "ome")


def test_labels_beside_an_image_are_not_looked_at(made: Path) -> None:
    (made / "labels" / "cells").mkdir(parents=True)
    (made / "labels" / "cells" / ".zattrs").write_text("{ no JSON")
    assert codes(made) == []
