"""Speed and memory of the gateway: `python -m benchmarks.gateway [--slide SLIDE] [--repeat 3] [--size-mib 1024]`.

Uploads go to a real gateway process and count when they are on the disk, hashed and checked; beside them are `cp` and
`sha256sum` of the same file. Deep Zoom tiles are asked for from a gateway and from OpenSlide's Python binding behind
Flask, each just started, on the same grid and in the same order. `--huge` sends a sparse file of 5 GiB to a gateway
that is killed three times on the way, and does nothing else.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median

import click
import numpy as np
import tifffile

from benchmarks.gateway_process import queue_of, start_gateway
from benchmarks.gateway_tiles import Answer, addresses, gateway_run, openslide_run
from benchmarks.gateway_uploads import (
    MIB,
    Uploader,
    copy_and_hash,
    make_slide,
    peak_of_many,
    through_crashes,
    timed_upload,
)
from benchmarks.report import Figure, figure
from server.viewing.deepzoom import grid_of
from workers.core.command_line import CONTEXT
from workers.core.digests import sha256_of
from workers.core.settings import Settings
from workers.core.slides.readers.registry import open_slide

CRASHES = 3
MADE_PX = 8192


def measure_uploads(settings: Settings, folder: Path, size: int, repeat: int) -> list[Figure]:
    """Measure `upload.vs_copy_and_hash`, of the resumable way in, and `upload.simple_vs_copy_and_hash`."""
    file = folder / "slide.tif"
    make_slide(file, size)
    gateway = start_gateway(settings)
    try:
        client = Uploader(gateway.port)
        rows = [
            (
                copy_and_hash(file, folder / "copy"),
                timed_upload(client, file, resumable=True),
                timed_upload(client, file, resumable=False),
            )
            for _ in range(repeat)
        ]
    finally:
        gateway.stop()
    file.unlink()
    print(f"\nuploads of {size / MIB:.0f} MiB, MB/s")
    print(f"{'cp + sha256sum':>16}{'resumable':>12}{'one request':>14}")
    for row in rows:
        copied, resumable, simple = (size / 1e6 / seconds for seconds in row)
        print(f"{copied:>16.0f}{resumable:>12.0f}{simple:>14.0f}")
    ways = {"upload.vs_copy_and_hash": 1, "upload.simple_vs_copy_and_hash": 2}
    return [_ratio(name, [row[0] / row[way] for row in rows]) for name, way in ways.items()]


def _ratio(name: str, measured: Sequence[float]) -> Figure:
    return Figure(name, median(measured), "x", (min(measured), max(measured)))


def measure_memory(settings: Settings, folder: Path, size: int, count: int) -> list[Figure]:
    """Measure `upload.peak_mb`, of the gateway itself; the table has all that it started besides."""
    file = folder / "slide.tif"
    make_slide(file, size)
    peak = peak_of_many(settings, file, count)
    file.unlink()
    print(f"\n{count} uploads of {size / MIB:.0f} MiB at once: gateway {peak.own_mb:.0f} MB,", end=" ")
    print(f"with the processes that check slides {peak.all_mb:.0f} MB")
    return [Figure("upload.peak_mb", peak.own_mb, "MB")]


def measure_tiles(settings: Settings, slide: Path, most: int, clients: int, repeat: int) -> list[Figure]:
    """Measure `deepzoom.vs_openslide_server`."""
    gateway = start_gateway(settings)
    stored = Uploader(gateway.port).put(slide)
    gateway.stop()
    with open_slide(slide) as opened:
        grid = grid_of(opened.geometry)
    tiles = addresses(grid, most)
    runs = []
    for _ in range(repeat):
        ours = gateway_run(settings, str(stored["id"]), tiles, clients)
        runs.append((ours, openslide_run(slide, grid, tiles, clients)))
    print(f"\n{len(tiles)} tiles of {grid.tile_px} px of {slide.name}, {clients} clients, cold")
    print(f"{'':>24}{'tiles/s':>10}{'p50 ms':>10}{'p99 ms':>10}{'KiB/tile':>10}")
    for number, (ours, theirs) in enumerate(runs, 1):
        print(_row(f"run {number}: gateway", ours))
        print(_row("openslide + flask", theirs))
    found = [_ratio("deepzoom.vs_openslide_server", [ours.rate / theirs.rate for ours, theirs in runs])]
    for name, answers in (
        ("gateway", [ours for ours, _ in runs]),
        ("openslide_server", [theirs for _, theirs in runs]),
    ):
        rates, p99s = [each.rate for each in answers], [each.p99_ms for each in answers]
        found.append(Figure(f"deepzoom.{name}_rate", mean(rates), "tiles/s", (min(rates), max(rates))))
        found.append(Figure(f"deepzoom.{name}_p99", mean(p99s), "ms", (min(p99s), max(p99s))))
    return found


def _row(name: str, answer: Answer) -> str:
    return f"{name:>24}{answer.rate:>10.0f}{answer.p50_ms:>10.1f}{answer.p99_ms:>10.1f}{answer.kib:>10.1f}"


def measure_crashes(settings: Settings, folder: Path, size: int) -> list[Figure]:
    """Measure `upload.crashes_survived`."""
    file = folder / "slide.tif"
    make_slide(file, size, sparse=True)
    expected = sha256_of(file)
    digest, offsets = through_crashes(settings, file, CRASHES)
    file.unlink()
    if digest != expected:
        raise RuntimeError(f"{digest} arrived of {expected}")
    gone_on = ", ".join(f"{offset / MIB:.0f}" for offset in offsets)
    print(f"\n{size / MIB:.0f} MiB through {CRASHES} crashes, gone on from MiB {gone_on}: SHA-256 {digest} is right")
    return [Figure("upload.crashes_survived", CRASHES, "crashes")]


def made_slide(path: Path) -> Path:
    """Write a slide to measure with where none is given: a JPEG pyramid, smooth with some noise, as tissue is."""
    rng = np.random.default_rng(5)
    coarse = rng.integers(90, 240, (MADE_PX // 64, MADE_PX // 64, 3), dtype=np.uint8)
    pixels = np.kron(coarse, np.ones((64, 64, 1), np.uint8))
    pixels += rng.integers(0, 12, pixels.shape, dtype=np.uint8)
    with tifffile.TiffWriter(path) as tiff:
        for level in range(4):
            step = 2**level
            tiff.write(
                pixels[::step, ::step], photometric="rgb", subsampling=(2, 2), tile=(256, 256), compression="jpeg",
                subfiletype=1 if level else 0, metadata=None,
            )  # fmt: skip
    return path


@click.command(context_settings=CONTEXT, help=__doc__.splitlines()[0])
@click.option("--slide", type=click.Path(path_type=Path), help="slide for the tiles; one is made if none is given")
@click.option("--size-mib", type=int, default=1024, help="size of an upload")
@click.option("--uploads", type=int, default=8, help="uploads at once, for the memory")
@click.option("--tiles", type=int, default=2000, help="tiles of a run, at most")
@click.option("--clients", type=int, default=8, help="connections at once, for the tiles")
@click.option("--repeat", type=int, default=3)
@click.option("--folder", type=click.Path(path_type=Path), help="where to work; on the disk that a server would use")
@click.option("--huge", is_flag=True, help="send a sparse file through crashes instead")
@click.option("--huge-mib", type=int, default=5120)
def main(folder: Path | None, slide: Path | None, *, huge: bool, huge_mib: int, size_mib: int, **counts: int) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as name:
        place = Path(name)
        with queue_of(place / "data") as settings:
            if huge:
                found = measure_crashes(settings, place, huge_mib * MIB)
            else:
                found = measure(settings, place, slide or made_slide(place / "made.tif"), size_mib * MIB, **counts)
    for each in found:
        figure(*each)


def measure(
    settings: Settings, folder: Path, slide: Path, size: int, *, tiles: int, clients: int, repeat: int, uploads: int
) -> list[Figure]:
    """Measure all but the crashes."""
    return [
        *measure_tiles(settings, slide, tiles, clients, repeat),
        *measure_uploads(settings, folder, size, repeat),
        *measure_memory(settings, folder, size, uploads),
    ]


if __name__ == "__main__":
    main()
