"""The table of formats: what every real slide and every good slide that was written comes out as."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile

from benchmarks.format_judge import far_difference, look
from benchmarks.format_slides import Good, far_slide
from workers.core.errors.base import LDiffusionError
from workers.core.slides.geometry import level_for_side
from workers.core.slides.readers.registry import open_slide
from workers.core.slides.slide import Slide
from workers.core.slides.tiff.structure import check_tiff

SUFFIXES = (".svs", ".ndpi", ".dcm", ".tif", ".tiff")
PLACES, PATCH_FAR_PX = 16, 2
TOLERANCE, FAR_TOLERANCE = 8.0, 12.0


class Row(NamedTuple):
    """One slide."""

    name: str
    opens: str
    levels: str
    mpp: str
    colours: str
    far: str


def print_table(goods: list[Good], data: Path, folder: Path) -> None:
    """Print a row for every slide."""
    rows = [*(_good_row(good) for good in goods), _far_row(far_slide(folder)), *_real_rows(data)]
    print(f"{'format':<46}{'opens':<22}{'levels':<16}{'mpp':<14}{'colours':<12}far view")
    for row in rows:
        print(f"{row.name:<46}{row.opens:<22}{row.levels:<16}{row.mpp:<14}{row.colours:<12}{row.far}")


def _good_row(good: Good) -> Row:
    seen = look(good.path, good)
    if seen.refused is not None:
        word = "refused, as it should" if good.is_refused else "REFUSED"
        return Row(good.name, word, "-", "-", "-", seen.refused[:60])
    with open_slide(good.path) as slide:
        factors = [round(level.downsample) for level in slide.geometry.levels]
        levels = f"{len(factors)}{'' if factors == list(good.downsamples) else ' WRONG'}"
        far = "ok" if not {"far view", "tissue"} & set(seen.differs) else "WRONG"
        colours = "ok" if not any(each.startswith("colours") for each in seen.differs) else "WRONG"
        is_right_mpp = not any(each.startswith("mpp") for each in seen.differs)
        return Row(good.name, slide.backend, levels, f"{_mpp(slide)}{'' if is_right_mpp else ' WRONG'}", colours, far)


def _far_row(good: Good) -> Row:
    """The thumbnail of 36,000 x 36,000 px has to come from the level that is there."""
    with open_slide(good.path) as slide:
        started = time.perf_counter()
        far = slide.thumbnail(1024)
        took = time.perf_counter() - started
        is_right = far_difference(far, good) < 1 and took < 1 and len(slide.geometry.levels) == 2
        return Row(good.name, slide.backend, "2", _mpp(slide), "ok", f"{'ok' if is_right else 'WRONG'}, {took:.2f} s")


def _real_rows(data: Path) -> Iterator[Row]:
    folders = [data / "wsi", *sorted((data.parent / "cases").glob("*"))]
    for path in (path for folder in folders for path in sorted(folder.glob("*")) if path.suffix in SUFFIXES):
        name = f"{path.parent.name}/{path.name}"[:44]
        try:
            check_tiff(path)
            with open_slide(path) as slide:
                factors = "/".join(f"{level.downsample:g}" for level in slide.geometry.levels)[:14]
                colours, far = _colours(path, slide), _far(slide)
                yield Row(name, slide.backend, factors, _mpp(slide), colours, far)
        except LDiffusionError as error:
            yield Row(name, "refused", "-", "-", "-", f"{error.message[:60]} {error.value}")


def _mpp(slide: Slide) -> str:
    geometry = slide.geometry
    if geometry.implausible_mpp is not None:
        return f"! {geometry.implausible_mpp[0]:g}"
    return "none" if geometry.mpp_x is None else f"{geometry.mpp_x:.4g}"


def _colours(path: Path, slide: Slide) -> str:
    """Compare 64 px with what tifffile decodes of the largest directory; `-` where that has no word."""
    if path.suffix == ".dcm" or slide.content.z_planes > 1 or slide.content.channels:
        return "-"
    with tifffile.TiffFile(path, _multifile=False) as file:
        page: Any = max(file.pages, key=lambda each: each.shape[0] * each.shape[1])
        is_plain = int(page.photometric) in (2, 6) and page.planarconfig == 1
        if not is_plain or page.shape[:2] != (slide.geometry.l0_height, slide.geometry.l0_width):
            return "-"
        truth = page.asarray() if page.imagewidth * page.imagelength < 2**25 else None
        rng = np.random.default_rng(1)
        off = []
        for _ in range(64):
            x, y = int(rng.integers(page.imagewidth)), int(rng.integers(page.imagelength))
            wanted = truth[y, x, :3] if truth is not None else _one(page, x, y)
            off.append(float(np.abs(slide.read_level(0, x, y, 1, 1)[0, 0].astype(int) - wanted).mean()))
    return "ok" if np.mean(off) < TOLERANCE else f"off by {np.mean(off):.0f}"


def _one(page: Any, x: int, y: int) -> Any:
    """Decode the tile of one px."""
    index = y // page.tilelength * -(-page.imagewidth // page.tilewidth) + x // page.tilewidth
    with Path(page.parent.filehandle.path).open("rb") as file:
        data = os.pread(file.fileno(), page.databytecounts[index], page.dataoffsets[index])
    tile = page.decode(data, index, jpegtables=page.jpegtables)[0]
    return tile[0, y % page.tilelength, x % page.tilewidth, :3].astype(int)


def _far(slide: Slide) -> str:
    """Compare places of a far view with level 0, averaged over what they cover."""
    far = slide.thumbnail(512)
    across = slide.geometry.l0_width / far.shape[1]
    rng = np.random.default_rng(2)
    off = []
    for _ in range(PLACES):
        x, y = int(rng.integers(far.shape[1] - PATCH_FAR_PX)), int(rng.integers(far.shape[0] - PATCH_FAR_PX))
        side = max(1, round(PATCH_FAR_PX * across))
        patch = slide.read_level(0, round(x * across), round(y * across), side, side)
        seen = far[y : y + PATCH_FAR_PX, x : x + PATCH_FAR_PX]
        off.append(float(np.abs(patch.mean(axis=(0, 1)) - seen.mean(axis=(0, 1))).mean()))
    level = level_for_side(slide.geometry, 512)
    return f"{'ok' if np.mean(off) < FAR_TOLERANCE else f'off by {np.mean(off):.0f}'}, from level {level}"
