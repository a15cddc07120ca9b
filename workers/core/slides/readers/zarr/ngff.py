"""What an OME-Zarr says of its images: NGFF 0.4 on Zarr version 2, NGFF 0.5 on version 3.

The model is that of https://ngff.openmicroscopy.org/: multiscales, axes, datasets, scales; `omero` for the names of
channels; the layout of bioformats2raw for several images.
"""

import re
from fractions import Fraction
from math import isfinite
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, JsonValue

from workers.core.errors.base import SlideTooLarge, SlideUnreadable
from workers.core.slides.readers.tiff.ome_xml import UM_PER_UNIT
from workers.core.slides.readers.zarr.entries import Entries
from workers.core.slides.readers.zarr.metadata import ArraySaid, Said, Text, array_of, parsed, read_json

AXES = "tczyx"
MAX_IMAGES = 256
MAX_LEVELS = 64
MAX_CHANNELS = 256
MAX_PATH = 250
VERSIONS = "NGFF 0.4 on Zarr 2, NGFF 0.5 on Zarr 3"
UNSAID = "none"
"""Version of a group of Zarr 3 that says none; in Zarr 2 it stands with each multiscale."""

_UM = {
    "meter": Fraction(10**6),
    "centimeter": Fraction(10**4),
    "millimeter": Fraction(1000),
    "micrometer": Fraction(1),
    "micron": Fraction(1),
    "nanometer": Fraction(1, 1000),
    "picometer": Fraction(1, 10**6),
    "angstrom": Fraction(1, 10**4),
    "inch": Fraction(25400),
} | UM_PER_UNIT
"""µm in the units of length that a scanner may use, by their names in NGFF, and as others write them."""

_PART = re.compile(r"[^/\\\0]{1,200}")
_NUMBERED = re.compile(r"(?:channel)?[\s:_-]*[0-9]*", re.IGNORECASE)
"""Names that programs give channels that have none."""


class _Axis(Said):
    name: Text
    unit: JsonValue = None


class _Transformation(Said):
    type: Text
    scale: tuple[float, ...] | None = None
    translation: tuple[float, ...] | None = None


class _Dataset(Said):
    path: Text
    transformations: tuple[_Transformation, ...] | None = Field(default=None, alias="coordinateTransformations")


class _Multiscale(Said):
    name: JsonValue = None
    version: Text | None = None
    axes: tuple[_Axis | Text, ...] = ()
    datasets: Annotated[tuple[_Dataset, ...], Field(min_length=1, max_length=MAX_LEVELS)]
    transformations: tuple[_Transformation, ...] | None = Field(default=None, alias="coordinateTransformations")


class Attributes(Said):
    """What NGFF puts into the attributes of a group."""

    version: Text | None = None
    multiscales: Annotated[tuple[_Multiscale, ...], Field(max_length=MAX_IMAGES)] = ()
    omero: JsonValue = None
    layout: JsonValue = Field(default=None, alias="bioformats2raw.layout")
    series: Annotated[tuple[Text, ...], Field(max_length=MAX_IMAGES)] | None = None
    plate: JsonValue = None
    well: JsonValue = None


class _Ome(Said):
    ome: Attributes = Attributes()


class _Group3(Said):
    zarr_format: Literal[3]
    node_type: Literal["group"]
    attributes: _Ome = _Ome()


class ZarrLevel(NamedTuple):
    """One dataset of an image.

    Attributes:
        said: Its array.
        um: µm per px in x and y; None where it is not said, or in no length.
        scale: The same numbers in whatever unit: their ratios are downsamples.
        origin: Where the centre of its first px lies, in that unit, x and y.
    """

    said: ArraySaid
    um: tuple[Fraction, Fraction] | None
    scale: tuple[Fraction, Fraction] | None
    origin: tuple[Fraction, Fraction]

    def length(self, axes: str, axis: str) -> int:
        """Return the length of an axis, 1 if there is none of that name."""
        return self.said.shape[axes.index(axis)] if axis in axes else 1


class ZarrImage(NamedTuple):
    """One image of an OME-Zarr.

    Attributes:
        name: As the file calls it.
        axes: Their letters, the slowest first.
        levels: Those that are there, in the order of the file.
        missing: Paths of datasets that are not there.
        channels: Names of its channels, `""` for one without.
    """

    name: str
    axes: str
    levels: tuple[ZarrLevel, ...]
    missing: tuple[str, ...]
    channels: tuple[str, ...]


def attributes_of(entries: Entries, path: str) -> Attributes | None:
    """Return what NGFF says of a group, None if there is no group.

    Raises:
        SlideUnreadable: It makes no sense.
    """
    below = f"{path}/" if path else ""
    if (content := read_json(entries, f"{below}zarr.json")) is not None:
        found = parsed(_Group3, content, f"{below}zarr.json").attributes.ome
        return found.model_copy(update={"version": found.version or UNSAID})
    if (content := read_json(entries, f"{below}.zattrs")) is not None:
        return parsed(Attributes, content, f"{below}.zattrs").model_copy(update={"version": None})
    return None


def images_of(entries: Entries) -> list[ZarrImage]:
    """Return all images, in the order of the file.

    Raises:
        SlideUnreadable: There is none, or it is of a version or a kind that is not understood.
    """
    root = attributes_of(entries, "") or Attributes()
    if root.plate is not None or root.well is not None:
        raise SlideUnreadable(
            "This OME-Zarr is a plate of wells, and no slide.", value="plate", accepted="an image, or several"
        )
    groups = [("", root)] if root.multiscales else list(_series(entries, root))
    images = [_image(entries, path, said, attributes) for path, attributes in groups for said in attributes.multiscales]
    if not images:
        raise SlideUnreadable("This OME-Zarr holds no image.", accepted=f"multiscales of {VERSIONS}")
    return images


def _series(entries: Entries, root: Attributes) -> list[tuple[str, Attributes]]:
    """Return the groups of several images: those that are listed, else those that are numbered from 0."""
    if root.layout is None:
        return []
    listed = attributes_of(entries, "OME")
    names = listed.series if listed and listed.series else map(str, range(MAX_IMAGES))
    found = []
    for name in names:
        attributes = attributes_of(entries, _path(name))
        if attributes is None and not (listed and listed.series):
            break
        if attributes is None or not attributes.multiscales:
            raise SlideUnreadable("An image of this OME-Zarr is not there, or has no multiscales.", value=ascii(name))
        found.append((name, attributes))
    return found


def _path(path: str) -> str:
    parts = path.split("/")
    is_plain = all(_PART.fullmatch(part) and part not in (".", "..") for part in parts)
    if not is_plain or not path.isprintable() or len(path) > MAX_PATH:
        raise SlideUnreadable("A path in this OME-Zarr leads to another folder.", value=ascii(path[:200]))
    return path


def _image(entries: Entries, group: str, said: _Multiscale, attributes: Attributes) -> ZarrImage:
    axes = _axes(said, attributes.version)
    levels, missing = [], []
    for dataset in said.datasets:
        path = _path(f"{group}/{dataset.path}" if group else dataset.path)
        array = array_of(entries, path)
        if array is None or len(array.shape) != len(axes):
            missing.append(path)
        else:
            levels.append(_level(array, axes, said, dataset))
    if not levels:
        raise SlideUnreadable("The arrays of this OME-Zarr are not there.", value=ascii(", ".join(missing)[:200]))
    channels = _channels(levels[0], axes, attributes)
    return ZarrImage(_text(said.name) or group, axes, tuple(levels), tuple(missing), channels)


def _axes(said: _Multiscale, version: str | None) -> str:
    """Return the letters of the axes, after a look at the version."""
    found = version or said.version
    names = "".join(axis.name for axis in said.axes if isinstance(axis, _Axis))
    if found not in (("0.5",) if version else ("0.4", None)) or len(names) != len(said.axes) or not said.axes:
        raise SlideUnreadable(
            "The version of this OME-Zarr is not understood.",
            value=ascii((found or "no axes with names")[:100]),
            accepted=VERSIONS,
        )
    is_known = set("yx") <= set(names) <= set(AXES) and len(set(names)) == len(names)
    if not is_known or names.index("x") < names.index("y"):
        raise SlideUnreadable(
            "The axes of this OME-Zarr are not understood.",
            value=ascii(", ".join(each.name for each in said.axes if isinstance(each, _Axis))[:100]),
            accepted="t, c, z, y and x, each once at most; y and x, in this order",
        )
    return names


def _level(array: ArraySaid, axes: str, said: _Multiscale, dataset: _Dataset) -> ZarrLevel:
    """Return a dataset with its place: what it says itself, then what is said of all of them."""
    steps = (*(dataset.transformations or ()), *(said.transformations or ()))
    (x_size, x_start), (y_size, y_start) = (_placed(steps, axes.index(axis), len(axes)) for axis in "xy")
    is_said = any(each.type == "scale" for each in steps) and min(x_size, y_size) > 0
    um_x, um_y = (_UM.get(_unit(said, axis)) for axis in "xy")
    return ZarrLevel(
        said=array,
        um=(x_size * um_x, y_size * um_y) if is_said and um_x is not None and um_y is not None else None,
        scale=(x_size, y_size) if is_said else None,
        origin=(x_start, y_start),
    )


def _placed(steps: tuple[_Transformation, ...], at: int, count: int) -> tuple[Fraction, Fraction]:
    """Return the length of a px along an axis, 0 if it is not known, and where the first one lies."""
    size, start = Fraction(1), Fraction(0)
    for each in steps:
        if each.type == "scale":
            factor = _number(each.scale, at, count)
            size, start = size * factor, start * factor
        elif each.type == "translation":
            start += _number(each.translation, at, count)
        elif each.type != "identity":
            size = Fraction(0)
    return size, start


def _number(said: tuple[float, ...] | None, at: int, count: int) -> Fraction:
    """Return a number of a transformation just as it is written; 0 if there is none of use."""
    if said is None or len(said) != count or not isfinite(said[at]):
        return Fraction(0)
    return Fraction(str(said[at]))


def _unit(said: _Multiscale, name: str) -> str:
    return next((_text(axis.unit) for axis in said.axes if isinstance(axis, _Axis) and axis.name == name), "")


def _channels(level: ZarrLevel, axes: str, attributes: Attributes) -> tuple[str, ...]:
    count = level.length(axes, "c")
    if count > MAX_CHANNELS:
        raise SlideTooLarge("This OME-Zarr has too many channels.", value=count, accepted=f"at most {MAX_CHANNELS}")
    omero = attributes.omero if isinstance(attributes.omero, dict) else {}
    said = omero.get("channels")
    channels = said if isinstance(said, list) else []
    names = [_text(each.get("label")) if isinstance(each, dict) else "" for each in channels[:count]]
    names = ["" if _NUMBERED.fullmatch(name.strip()) else name for name in names]
    return (*names, *[""] * (count - len(names)))


def _text(said: JsonValue) -> str:
    """Return a name as it can be shown: what is none is no reason to refuse a slide."""
    return "".join(filter(str.isprintable, said))[:100] if isinstance(said, str) else ""
