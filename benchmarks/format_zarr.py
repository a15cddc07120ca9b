"""Good OME-Zarrs of every kind, written by zarr-python from the made-up section, and what has to be seen in them."""

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, ZstdCodec

from benchmarks.format_slides import MPP, TILE, Good, UInt8, as_seen, grey_of, halved, section

TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
PER_UM = {"micrometer": 1.0, "nanometer": 1000.0, "millimeter": 0.001}
CODECS_2: dict[str, Any] = {
    "none": None,
    "blosc": numcodecs.Blosc(),
    "zlib": numcodecs.Zlib(),
    "gzip": numcodecs.GZip(),
    "zstd": numcodecs.Zstd(),
}
CODECS_3: dict[str, Any] = {
    "none": (),
    "blosc": (BloscCodec(),),
    "gzip": (GzipCodec(),),
    "zstd": (ZstdCodec(),),
    "crc32c": (ZstdCodec(), Crc32cCodec()),
}
STAINS = ["DAPI", "FITC", "Cy3", "Cy5", "Cy7"]


def write_image(
    folder: Path,
    pixels: NDArray[Any],
    axes: str = "cyx",
    *,
    version: str = "0.5",
    group: str = "",
    factors: tuple[int, ...] = (1, 2, 4),
    channels: list[str] | None = None,
    unit: str | None = "micrometer",
    name: str = "",
    **options: Any,
) -> Path:
    """Write a pyramid of `pixels` as an image of an OME-Zarr.

    Args:
        folder: The Zarr; made if absent.
        pixels: Samples in the order of `axes`.
        axes: Their letters.
        version: Of NGFF.
        group: Where in the Zarr.
        factors: Downsamples of the levels, each a mean of blocks.
        channels: Labels for `omero`; none without.
        unit: Of x and y; `MPP` µm per px are told in it.
        name: Of the image.
        options: For `create_array`: chunks, shards, compressors.
    """
    is_3 = version == "0.5"
    multiscale: dict[str, Any] = {"name": name, "axes": [_axis(axis, unit) for axis in axes]}
    multiscale["datasets"] = [
        {"path": str(k), "coordinateTransformations": [_scale(axes, f, unit)]} for k, f in enumerate(factors)
    ]
    attributes: dict[str, Any] = {"multiscales": [multiscale]}
    if channels is not None:
        attributes["omero"] = {"channels": [{"label": label, "color": "FFFFFF"} for label in channels]}
    if is_3:
        attributes = {"ome": {"version": version, **attributes}}
        options = {"dimension_names": tuple(axes), **options}
    else:
        multiscale["version"] = version
        options = {"chunk_key_encoding": {"name": "v2", "separator": "/"}, **options}
    image = zarr.create_group(folder, path=group, zarr_format=3 if is_3 else 2, attributes=attributes)
    for level, factor in enumerate(factors):
        data = reduced(pixels, axes, factor)
        chunks = tuple(TILE if axis in "yx" else 1 for axis in axes)
        array = image.create_array(
            str(level), **{"shape": data.shape, "chunks": chunks, "dtype": data.dtype, **options}
        )
        array[:] = data
    return folder


def _axis(axis: str, unit: str | None) -> dict[str, str]:
    return {"name": axis, "type": TYPES[axis]} | ({"unit": unit} if unit and axis in "yx" else {})


def _scale(axes: str, factor: int, unit: str | None) -> dict[str, Any]:
    per_px = MPP * PER_UM.get(unit or "", 1.0) * factor
    return {"type": "scale", "scale": [per_px if axis in "yx" else 1.0 for axis in axes]}


def reduced(pixels: NDArray[Any], axes: str, factor: int) -> NDArray[Any]:
    """Return means of blocks along y and x."""
    places = [axes.index("y"), axes.index("x")]
    return np.moveaxis(halved(np.moveaxis(pixels, places, [0, 1]), factor), [0, 1], places)


def zipped(folder: Path, path: Path, root: str = "", *, packed: bool = False) -> Path:
    """Write the files of a folder into a zip, all below `root`."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        for file in sorted(each for each in folder.rglob("*") if each.is_file()):
            archive.write(file, root + file.relative_to(folder).as_posix())
    return path


def planes_of(rgb: UInt8) -> UInt8:
    """Return (3, height, width)."""
    return np.ascontiguousarray(np.moveaxis(rgb, 2, 0))


def goods(folder: Path, rgb: UInt8) -> Iterator[Good]:
    """Write every kind of OME-Zarr, each into a zip."""

    def good(name: str, shown: UInt8, *args: Any, root: str = "", packed: bool = False, **options: Any) -> Good:
        written = write_image(folder / f"{name}.zarr", *args, **options)
        levels = options.get("factors", (1, 2, 4))
        path = zipped(written, folder / f"{name}.zip", root, packed=packed)
        return Good(f"zarr_{name}", path, shown, downsamples=levels)

    planes = planes_of(rgb)
    for codec, compressors in CODECS_2.items():
        yield good(f"2_{codec}", rgb, planes, version="0.4", compressors=compressors)
    for codec, compressors in CODECS_3.items():
        yield good(f"3_{codec}", rgb, planes, compressors=compressors)
    yield good("3_shards", rgb, planes, shards=(3, 2 * TILE, 2 * TILE))
    yield good("3_together", rgb, planes, chunks=(3, TILE, TILE))
    yield good("3_last", rgb, rgb, "yxc", chunks=(TILE, TILE, 3))
    yield good("2_dots", rgb, planes, version="0.4", chunk_key_encoding={"name": "v2", "separator": "."})
    yield good("2_fortran", rgb, planes, version="0.4", order="F", chunks=(3, TILE, TILE))
    yield good("3_folder", rgb, planes, root="case 7.ome.zarr/", packed=True)
    yield good("3_single", rgb, planes, factors=(1,))
    for unit in ("nanometer", "millimeter"):
        yield good(f"3_{unit}", rgb, planes, unit=unit)
    grey = grey_of(rgb)
    yield good("3_grey", as_seen(grey), grey, "yx")
    stack = np.stack([np.roll(grey, 40 * z, axis=1) for z in range(3)])
    yield good("3_zstack", as_seen(stack[1]), stack, "zyx")
    yield good("2_all_axes", rgb, planes[None, :, None], "tczyx", version="0.4")
    yield from _fluorescence(good, grey)
    yield _several(folder, planes, rgb)


def _fluorescence(good: Callable[..., Good], grey: UInt8) -> Iterator[Good]:
    glow = np.clip(255 - grey.astype(int) - 14, 0, 255).astype(np.uint8)
    for count in (3, 5):
        planes = np.stack([np.roll(glow, 30 * c, axis=0) // (c + 1) for c in range(count)])
        shown = np.ascontiguousarray(np.moveaxis(planes[:3], 0, 2))
        yield good(f"3_fluorescence_{count}", shown, planes, channels=STAINS[:count])
        deep = good(f"3_fluorescence_{count}_16bit", shown, planes.astype(np.uint16) * 200, channels=STAINS[:count])
        yield Good(deep.name, deep.path, shown, is_refused=True)


def _several(folder: Path, planes: UInt8, rgb: UInt8) -> Good:
    path = folder / "2_several.zarr"
    zarr.create_group(path, zarr_format=2, attributes={"bioformats2raw.layout": 3})
    write_image(path, planes_of(section(8, 512, 384)), version="0.4", group="0", name="small")
    write_image(path, planes, version="0.4", group="1", name="large")
    return Good("zarr_2_several", zipped(path, folder / "2_several.zip"), rgb)
