"""Good slides of every kind of TIFF, written by script from one made-up section, and what has to be seen in them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from benchmarks.format_edit import TiffEdit

UInt8 = NDArray[np.uint8]
WIDTH, HEIGHT, TILE = 768, 640, 128
MPP = 0.5
UNITS = {"µm": 1.0, "nm": 1000.0, "mm": 0.001}
LOSSY = ("jpeg", "jpeg2000", "webp")
CODECS = ("deflate", "lzw", "packbits", "zstd", "png", *LOSSY)
CM: dict[str, Any] = {"resolution": (1e4 / MPP, 1e4 / MPP), "resolutionunit": "CENTIMETER"}


@dataclass(frozen=True)
class Good:
    """A slide and the truth of it.

    Attributes:
        name: Of the kind.
        path: The file.
        pixels: What level 0 shows, uint8 (height, width, 3).
        mpp: µm per px.
        downsamples: Of its levels.
        is_lossy: Its pixels are not quite those that were written.
        is_refused: It is nothing that is read, and is to be refused by name.
    """

    name: str
    path: Path
    pixels: UInt8
    mpp: float | None = MPP
    downsamples: tuple[int, ...] = (1, 2, 4)
    is_lossy: bool = False
    is_refused: bool = False

    @property
    def tolerance(self) -> float:
        """Mean difference of a sample up to which pixels are the same."""
        return 7.0 if self.is_lossy else 1.0


def section(seed: int = 3, width: int = WIDTH, height: int = HEIGHT) -> UInt8:
    """Return a picture like a section stained with H&E: pale glass, pink tissue, dark nuclei; no two places alike."""
    rng = np.random.default_rng(seed)

    def noise(cells: int) -> NDArray[np.float64]:
        coarse = Image.fromarray(rng.random((cells, cells)).astype(np.float32))
        return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.float64)

    y, x = np.mgrid[:height, :width]
    outline = ((x / width - 0.5) / 0.44) ** 2 + ((y / height - 0.5) / 0.45) ** 2 + 0.5 * (noise(9) - 0.5)
    tissue = np.clip((1 - outline) * 12, 0, 1)[..., None]
    pink = np.array((236.0, 160.0, 200.0)) - noise(24)[..., None] * (40, 90, 40)
    nuclei = np.clip((noise(64) - 0.7) * 8, 0, 1)[..., None]
    stained = pink * (1 - nuclei) + np.array((95.0, 55.0, 140.0)) * nuclei
    return np.asarray((np.array((243.0, 241.0, 244.0)) * (1 - tissue) + stained * tissue).round(), np.uint8)


def halved(pixels: NDArray[Any], factor: int) -> NDArray[Any]:
    """Return means of blocks; the sides are whole numbers of them."""
    if factor == 1:
        return pixels
    height, width = pixels.shape[0] // factor, pixels.shape[1] // factor
    blocks = pixels[: height * factor, : width * factor].reshape(height, factor, width, factor, *pixels.shape[2:])
    return np.asarray(blocks.mean(axis=(1, 3)).round(), pixels.dtype)


def grey_of(pixels: UInt8) -> UInt8:
    """Return the brightness, (height, width)."""
    return np.asarray(Image.fromarray(pixels).convert("L"))


def as_seen(grey: UInt8) -> UInt8:
    return np.repeat(grey[..., None], 3, axis=2)


def write_chain(path: Path, pixels: UInt8, photometric: str = "rgb", *, big: bool = False, **options: Any) -> Path:
    """Write a pyramid of three directories in one chain."""
    options = {"tile": (TILE, TILE), "compression": "deflate", **CM, **options}
    with tifffile.TiffWriter(path, bigtiff=big, byteorder=options.pop("byteorder", "<")) as file:
        for factor in (1, 2, 4):
            level = halved(pixels, factor) if options.get("planarconfig") != 2 else halved_planes(pixels, factor)
            file.write(level, photometric=photometric, metadata=None, subfiletype=int(factor > 1), **options)
    return path


def halved_planes(pixels: UInt8, factor: int) -> UInt8:
    return np.ascontiguousarray(np.moveaxis(halved(np.moveaxis(pixels, 0, 2), factor), 2, 0))


def write_ome(path: Path, planes: NDArray[Any], axes: str, unit: str = "µm", **more: Any) -> Path:
    """Write an OME-TIFF with two levels in SubIFDs; the planes are (planes, height, width) or (height, width, 3)."""
    photometric = "rgb" if axes.endswith("S") else "minisblack"
    channels = more.pop("channels", None)
    metadata: dict[str, Any] = {
        "axes": axes,
        "PhysicalSizeX": MPP * UNITS[unit],
        "PhysicalSizeXUnit": unit,
        "Name": "slide",
    }
    metadata |= {"PhysicalSizeY": MPP * UNITS[unit], "PhysicalSizeYUnit": unit}
    metadata |= {"Channel": {"Name": channels}} if channels else {}
    options: dict[str, Any] = {"tile": (TILE, TILE), "compression": "deflate", "photometric": photometric, **more}
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(planes, subifds=2, metadata=metadata, **options)
        for factor in (2, 4):
            level = halved(planes, factor) if axes.endswith("S") else halved_planes(planes, factor)
            file.write(level, subfiletype=1, **options)
    return path


def _generic(folder: Path, rgb: UInt8) -> Iterator[Good]:
    for codec in CODECS:
        lossy = codec in LOSSY
        args: dict[str, Any] = {"compression": codec}
        args |= {"compressionargs": {"level": 95}} if codec in ("jpeg", "webp") else {}
        yield Good(f"generic_{codec}", write_chain(folder / f"{codec}.tif", rgb, **args), rgb, is_lossy=lossy)
    yield Good("generic_none", write_chain(folder / "none.tif", rgb, compression=None), rgb)
    yield Good("generic_predictor", write_chain(folder / "predictor.tif", rgb, predictor=True), rgb)
    yield Good("generic_big", write_chain(folder / "big.tif", rgb, big=True), rgb)
    yield Good("generic_big_endian", write_chain(folder / "endian.tif", rgb, byteorder=">"), rgb)
    yield Good("generic_strips", write_chain(folder / "strips.tif", rgb, tile=None, rowsperstrip=64), rgb)
    inch: dict[str, Any] = {"resolution": (25400 / MPP, 25400 / MPP), "resolutionunit": "INCH"}
    yield Good("generic_inch", write_chain(folder / "inch.tif", rgb, **inch), rgb)
    planes = np.ascontiguousarray(np.moveaxis(rgb, 2, 0))
    yield Good("generic_planar", write_chain(folder / "planar.tif", planes, planarconfig=2), rgb)
    yield _single(folder, rgb)
    yield _padded(folder, rgb)
    yield _aperio(folder, rgb)


def _single(folder: Path, rgb: UInt8) -> Good:
    path = folder / "single.tif"
    tifffile.imwrite(path, rgb, photometric="rgb", tile=(TILE, TILE), compression="deflate", metadata=None, **CM)
    return Good("generic_single", path, rgb, downsamples=(1,))


def _padded(folder: Path, rgb: UInt8) -> Good:
    path, small = folder / "padded.tif", rgb[:600, :700]
    with tifffile.TiffWriter(path) as file:
        for factor in (1, 2, 4):
            level = halved(small, factor)
            stored = level
            if factor > 1:
                sides = [(0, -length % TILE) for length in level.shape[:2]]
                stored = np.pad(level, (*sides, (0, 0)))
            resolution = (1e4 / MPP / factor, 1e4 / MPP / factor)
            options: dict[str, Any] = {"resolution": resolution, "resolutionunit": "CENTIMETER", "tile": (TILE, TILE)}
            file.write(stored, photometric="rgb", compression="deflate", metadata=None, **options)
    return Good("generic_padded", path, small)


def _aperio(folder: Path, rgb: UInt8) -> Good:
    path = folder / "aperio.svs"
    text = f"Aperio Image Library v11\n{WIDTH}x{HEIGHT} JPEG/RGB Q=90|AppMag = 20|MPP = {MPP}"
    options: dict[str, Any] = {"photometric": "rgb", "compression": "jpeg", "metadata": None}
    options["compressionargs"] = {"level": 95, "outcolorspace": "rgb"}
    with tifffile.TiffWriter(path) as file:
        file.write(rgb, tile=(TILE, TILE), description=text, **options)
        file.write(halved(rgb, 4), description=f"{text} -> 192x160", **options)
        for factor in (2, 4):
            file.write(halved(rgb, factor), tile=(TILE, TILE), description=f"{text} -> level", **options)
    return Good("aperio", path, rgb, is_lossy=True)


def _colours(folder: Path, rgb: UInt8) -> Iterator[Good]:
    grey = grey_of(rgb)
    yield Good("grey", write_chain(folder / "grey.tif", grey, "minisblack"), as_seen(grey))
    yield Good("min_is_white", write_chain(folder / "white.tif", 255 - grey, "miniswhite"), as_seen(grey))
    few = Image.fromarray(rgb).quantize(64)
    table = np.zeros((3, 256), np.uint16)
    colours = np.asarray(few.getpalette() or (), np.uint16).reshape(-1, 3).T
    table[:, : colours.shape[1]] = colours * 257
    path = folder / "palette.tif"
    options: dict[str, Any] = {
        "tile": (TILE, TILE),
        "compression": "deflate",
        "metadata": None,
        "colormap": table,
        **CM,
    }
    tifffile.imwrite(path, np.asarray(few), photometric="palette", **options)
    yield Good("palette", path, np.asarray(few.convert("RGB")), downsamples=(1,))
    alpha = np.tile(np.linspace(96, 255, WIDTH).astype(np.uint8), (HEIGHT, 1))[..., None]
    share = alpha / 255.0
    over = (rgb * share + 255 * (1 - share)).round().astype(np.uint8)
    straight = np.concatenate([rgb, alpha], axis=2)
    multiplied = np.concatenate([(rgb * share).round().astype(np.uint8), alpha], axis=2)
    for name, data, extra, seen in (
        ("rgba", straight, "unassalpha", over),
        ("rgba_associated", multiplied, "assocalpha", over),
        ("rgbx", straight, "unspecified", rgb),
    ):
        yield Good(name, write_chain(folder / f"{name}.tif", data, extrasamples=(extra,)), seen)


def _ome(folder: Path, rgb: UInt8) -> Iterator[Good]:
    planes = np.ascontiguousarray(np.moveaxis(rgb, 2, 0))
    chained = write_ome(folder / "chained.ome.tif", rgb, "YXS")
    yield Good("ome_chained", chained, rgb)
    loose = folder / "unchained.ome.tif"
    TiffEdit(chained).save(loose)
    yield Good("ome_unchained", loose, rgb)
    for unit in ("nm", "mm"):
        yield Good(f"ome_{unit}", write_ome(folder / f"{unit}.ome.tif", rgb, "YXS", unit), rgb)
    yield Good("ome_resolution", write_ome(folder / "resolution.ome.tif", rgb, "YXS", **CM), rgb)
    yield Good("ome_jpeg", write_ome(folder / "jpeg.ome.tif", rgb, "YXS", compression="jpeg"), rgb, is_lossy=True)
    names = ["Red", "Green", "Blue"]
    yield Good("ome_planes", write_ome(folder / "planes.ome.tif", planes, "CYX", channels=names), rgb)
    grey = grey_of(rgb)
    stack = np.stack([np.roll(grey, 40 * z, axis=1) for z in range(3)])
    yield Good("ome_zstack", write_ome(folder / "zstack.ome.tif", stack, "ZYX"), as_seen(stack[1]))
    yield Good("ome_times", write_ome(folder / "times.ome.tif", stack, "TYX"), as_seen(stack[0]))
    yield _several(folder / "two.ome.tif", rgb, macro_first=False)
    yield _several(folder / "macro.ome.tif", rgb, macro_first=True)


def _several(path: Path, rgb: UInt8, *, macro_first: bool) -> Good:
    macro = {"axes": "YXS", "Name": "macro"}
    size = {"axes": "YXS", "PhysicalSizeX": MPP, "PhysicalSizeY": MPP}
    other = section(8, 512, 384)
    options: dict[str, Any] = {"photometric": "rgb", "compression": "deflate", "tile": (TILE, TILE)}
    with tifffile.TiffWriter(path, ome=True) as file:
        if macro_first:
            file.write(other[::2, ::2].copy(), metadata=macro, **options)
        file.write(rgb, metadata={**size, "Name": "A"}, **options)
        if not macro_first:
            file.write(other, metadata={**size, "Name": "B"}, **options)
    return Good("ome_macro_first" if macro_first else "ome_two_images", path, rgb, downsamples=(1,))


def _fluorescence(folder: Path, rgb: UInt8) -> Iterator[Good]:
    names = ["DAPI", "FITC", "Cy3", "Cy5", "Cy7"]
    glow = np.clip(255 - grey_of(rgb).astype(int) - 14, 0, 255).astype(np.uint8)
    for count in (2, 3, 4, 5):
        planes = np.stack([np.roll(glow, 30 * c, axis=0) // (c + 1) for c in range(count)])
        shown = [planes[c] if c < count else np.zeros_like(glow) for c in range(3)]
        path = write_ome(folder / f"fluo{count}.ome.tif", planes, "CYX", channels=names[:count])
        yield Good(f"fluorescence_{count}", path, np.stack(shown, axis=2))
        deep = write_ome(
            folder / f"fluo{count}_16.ome.tif", planes.astype(np.uint16) * 200, "CYX", channels=names[:count]
        )
        yield Good(f"fluorescence_{count}_16bit", deep, np.stack(shown, axis=2), is_refused=True)


def _imagej(folder: Path, rgb: UInt8) -> Iterator[Good]:
    path = folder / "imagej.tif"
    options: dict[str, Any] = {"resolution": (1 / MPP, 1 / MPP), "metadata": {"unit": "um", "axes": "YXS"}}
    tifffile.imwrite(path, rgb, imagej=True, photometric="rgb", **options)
    yield Good("imagej", path, rgb, downsamples=(1,))


def far_slide(folder: Path) -> Good:
    """Write 36,000 x 36,000 px of glass with one level of 2250 x 2250 in a SubIFD; far views have to come from it."""
    path, side = folder / "far.ome.tif", 2048
    glass = np.full((side, side, 3), 243, np.uint8)
    options: dict[str, Any] = {"photometric": "rgb", "compression": "deflate", "tile": (side, side), "dtype": np.uint8}

    def tiles(length: int) -> Iterator[UInt8]:
        return (glass for _ in range((-(-length // side)) ** 2))

    metadata = {"axes": "YXS", "PhysicalSizeX": MPP, "PhysicalSizeY": MPP}
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        file.write(tiles(36000), shape=(36000, 36000, 3), subifds=1, metadata=metadata, **CM, **options)
        file.write(tiles(2250), shape=(2250, 2250, 3), subfiletype=1, **options)
    return Good("ome_far", path, np.broadcast_to(np.uint8(243), (36000, 36000, 3)), downsamples=(1, 16))


FAMILIES: tuple[Callable[[Path, UInt8], Iterator[Good]], ...] = (_generic, _colours, _ome, _fluorescence, _imagej)


def write_all(folder: Path) -> list[Good]:
    """Write every small slide into a folder."""
    rgb = section()
    return [good for family in FAMILIES for good in family(folder, rgb)]
