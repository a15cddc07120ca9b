"""What the cut of a mask into objects costs: `python -m benchmarks.split [--data ../shared/data]`.

Annotated masks of nuclei, right in every pixel, are cut and compared with their own objects, beside connected
components. What is lost here is lost before any model is measured.
"""

import os
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.report import figure
from models.training.crops.data import DatasetConfig, Sample, iterate_dataset
from models.training.evaluation.instances import instance_counts, instance_scores
from models.training.evaluation.splitting import split_instances
from workers.core.command_line import CONTEXT

SETS = (
    (DatasetConfig("dsb2018_stained/train", adapter="dsb2018"), 1),
    (DatasetConfig("consep/train", adapter="consep", variant="binary"), 9),
)
"""A set, and that every how many-th of its images is taken."""

Counts = NDArray[np.float64]
DATA = os.environ.get("LDIFFUSION_TEST_DATA", "../shared/data")


def counted(sample: Sample) -> tuple[Counts, Counts]:
    """Return the counts of one image: of the cut, and of connected components."""
    if sample.instances is None:
        raise ValueError(f"{sample.name} has no instance map")
    mask = sample.instances > 0
    found = split_instances(mask, sample.mpp), ndimage.label(mask)[0]
    return instance_counts(sample.instances, found[0]), instance_counts(sample.instances, found[1])


@click.command(context_settings=CONTEXT, help=__doc__.splitlines()[0])
@click.option("--data", type=click.Path(path_type=Path), default=DATA)
def main(data: Path) -> None:
    print(f"{'masks':<24}{'images':>7}{'AJI':>8}{'PQ':>8}{'components: AJI':>17}{'PQ':>8}")
    for config, step in SETS:
        samples = [sample for sample, _ in iterate_dataset(config, data, 2)][::step]
        split, joined = (instance_scores(np.sum(counts, axis=0)) for counts in zip(*map(counted, samples), strict=True))
        print(
            f"{config.root:<24}{len(samples):>7}{split.aji:>8.3f}{split.pq:>8.3f}{joined.aji:>17.3f}{joined.pq:>8.3f}"
        )
        name = config.root.partition("/")[0]
        figure(f"split.{name}_aji", split.aji, "fraction")
        figure(f"split.{name}_pq", split.pq, "fraction")


if __name__ == "__main__":
    main()
