"""Which slides are read, and which wrong ones without a word: `python -m benchmarks.formats [--data FOLDER]`.

First a table of every real slide at hand and of every good slide that is written here: does it open, with which levels
and µm per px, are 64 px and the far view those of the truth. Then mutants of the good slides, by kinds that are
declared beforehand; one that the file gives away and that is read wrong without a word is a silent fault.
"""

import logging
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click

from benchmarks.format_edit import TiffEdit
from benchmarks.format_judge import look
from benchmarks.format_mutants import DIRECTORY_KINDS, Kind
from benchmarks.format_mutants_ome import OME_KINDS
from benchmarks.format_mutants_zarr import ZARR_KINDS
from benchmarks.format_slides import Good, section, write_all
from benchmarks.format_table import print_table
from benchmarks.format_zarr import goods as zarr_goods
from benchmarks.format_zarr_edit import ZarrEdit
from benchmarks.report import figure

DEFAULT_DATA = os.environ.get("LDIFFUSION_TEST_DATA", "../shared/data")
BASES = (
    *("generic_deflate", "generic_none", "generic_jpeg", "generic_predictor", "generic_big", "generic_strips"),
    *("generic_planar", "generic_single", "generic_padded", "aperio", "grey", "palette", "rgba_associated", "imagej"),
    *("ome_chained", "ome_resolution", "ome_mm", "ome_jpeg", "ome_planes", "ome_zstack", "ome_two_images"),
    *("fluorescence_3", "fluorescence_5"),
    *(
        "zarr_2_blosc",
        "zarr_2_none",
        "zarr_2_several",
        "zarr_2_all_axes",
        "zarr_3_zstd",
        "zarr_3_crc32c",
        "zarr_3_shards",
    ),
    *("zarr_3_together", "zarr_3_single", "zarr_3_zstack", "zarr_3_fluorescence_3"),
)
"""Of these mutants are made; the others differ from them in their codec alone."""


class Result(NamedTuple):
    """What came of one mutant."""

    kind: Kind
    base: str
    verdict: str
    detail: str


def mutants(goods: list[Good], folder: Path) -> Iterator[Result]:
    """Write one mutant after the other and say what came of it."""
    for good in goods:
        before = look(good.path, good)
        is_zarr = good.path.suffix == ".zip"
        path = folder / f"mutant{good.path.suffix}"
        for kind in ZARR_KINDS if is_zarr else (*DIRECTORY_KINDS, *OME_KINDS):
            edit = ZarrEdit(good.path) if is_zarr else TiffEdit(good.path)
            if kind.change(edit) is False:
                continue
            edit.save(path)
            seen = look(path, good)
            told = sorted(f"{code} {value or ''}" for code, value in seen.warnings - before.warnings)
            if seen.refused is None and "fluorescence" in {seen.modality} ^ {before.modality}:
                told.append(f"modality {seen.modality}")  # a model for the other kind refuses it
            yield Result(kind, good.name, *_verdict(seen.refused, seen.differs, told))


def _verdict(refused: str | None, differs: tuple[str, ...], told: list[str]) -> tuple[str, str]:
    if refused is not None:
        return "refused", refused
    if not differs:
        return "right", "; ".join(told)
    return ("warned", "; ".join(told)) if told else ("silent", ", ".join(differs))


def report(results: list[Result]) -> None:
    """Print what is silent, then how much of what there was."""
    silent = [each for each in results if each.verdict == "silent" and each.kind.is_detectable]
    print("\nsilent faults")
    for each in silent:
        print(f"  {each.kind.name} of {each.base}: {each.detail} ({each.kind.why})")
    print("  none" if not silent else "")
    print("kinds that no file gives away")
    hidden = [each for each in results if not each.kind.is_detectable]
    for kind in dict.fromkeys(each.kind for each in hidden):
        counts = Counter(each.verdict for each in hidden if each.kind is kind)
        print(f"  {kind.name}: {kind.why} ({', '.join(f'{n} {verdict}' for verdict, n in sorted(counts.items()))})")
    counts = Counter(each.verdict for each in results)
    print(f"\n{len(results)} mutants: {', '.join(f'{n} {verdict}' for verdict, n in sorted(counts.items()))}")


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=DEFAULT_DATA, help="Folder of the real data.")
@click.option("--only", help="Mutants of this good slide alone.")
@click.option("--verbose", is_flag=True, help="Print what came of every mutant.")
def main(data: Path, only: str | None, *, verbose: bool) -> None:
    """Try every format, then mutants of it."""
    started = time.perf_counter()
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # it has a word on every mutant
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        goods = [*write_all(folder), *zarr_goods(folder, section())]
        if only is None:
            print_table(goods, data, folder)
        bases = [good for good in goods if good.name in ((only,) if only else BASES)]
        results = list(mutants(bases, folder))
    if verbose:
        for each in results:
            print(f"{each.kind.name:<28}{each.base:<20}{each.verdict:<9}{each.detail[:120]}")
    report(results)
    print(f"{time.perf_counter() - started:.0f} s")
    silent = sum(each.verdict == "silent" and each.kind.is_detectable for each in results)
    figure("formats.mutants", len(results), "", (len(results), len(results)))
    figure("formats.silent_faults", silent, "", (silent, silent))


if __name__ == "__main__":
    main()
