"""How many of a model's objects are specks: `python -m benchmarks.specks SLIDE [--model nuclei-fast]`.

A speck is an object below 8 µm², which no nucleus of a section is; they stay in the labels, and are counted here before
tables and polygons leave them out.
"""

import json
import tempfile
from pathlib import Path

import click
from click.testing import CliRunner

from benchmarks.report import figure
from workers.core.command_line import CONTEXT
from workers.segment import main as segment


@click.command(context_settings=CONTEXT, help=__doc__.splitlines()[0])
@click.argument("slide", type=click.Path(exists=True, path_type=Path))
@click.option("--model", default="nuclei-fast", show_default=True)
def main(slide: Path, model: str) -> None:
    with tempfile.TemporaryDirectory() as out:
        done = CliRunner().invoke(segment, [str(slide), "-o", out, "--model", model])
        if done.exit_code:
            raise click.ClickException(done.output)
        classes = json.loads((Path(out) / "statistics.json").read_text(encoding="utf-8"))["classes"]
    found = [one for one in classes if one["count"] is not None]
    small, count = (sum(one[key] for one in found) for key in ("small_count", "count"))
    small_mm2, mm2 = (sum(one[key] for one in found) for key in ("small_mm2", "mm2"))
    print(f"{slide.name}, {model}: {small + count} objects of {1e6 * mm2:.0f} µm²")
    print(f"{small} of them are specks, {1e6 * small_mm2:.0f} µm²")
    figure("specks.objects", small / max(1, small + count), "share")
    figure("specks.area", small_mm2 / mm2 if mm2 else 0.0, "share")


if __name__ == "__main__":
    main()
