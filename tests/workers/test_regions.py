"""No byte of a result tells how large its regions were, nor how many workers there were: a network that sees."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from made_models import write_seeing_model
from numpy.typing import NDArray

from workers import stages
from workers.core.model.catalogue import find_model
from workers.core.model.precision import choose_precision
from workers.core.schemas import JobRequest
from workers.core.slides.readers.registry import open_slide
from workers.pipeline import stitch
from workers.segment import Run, describe
from workers.segment import main as segment

TILE_PX = 512
PLANES = ("labels", "confidence", "interior")


@dataclass(frozen=True)
class Case:
    """A slide, the folder of a model and what is asked of every job."""

    slide: Path
    model: Path
    roi: tuple[int, int, int, int] | None = None


def alone(case: Case, out: Path, region_px: int, threads: int = 1) -> Path:
    """One worker: the command line, in this process."""
    asked = [case.slide, "-o", out, "--model", case.model, "--region-px", region_px, "--threads", threads]
    roi = [] if case.roi is None else ["--roi", ",".join(map(str, case.roi))]
    done = CliRunner().invoke(segment, [str(each) for each in (*asked, *roi)])
    assert done.exit_code == 0, done.output
    return out


@contextmanager
def workers(case: Case, out: Path, count: int, indices: tuple[int, ...]) -> Iterator[None]:
    """Run processes that segment every nth region, the last one first."""
    script = Path(__file__).parents[1] / "fixtures" / "region_worker.py"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(script.parents[2]), str(script.parent)))}
    running = []
    for number in range(count):
        own = [str(index) for index in indices[number::count][::-1]]
        arguments = [sys.executable, str(script), str(case.slide), str(case.model), str(out), "1", *own]
        running.append(subprocess.Popen(arguments, env=environment))
    yield
    assert [process.wait() for process in running] == [0] * count


def together(case: Case, out: Path, region_px: int, count: int = 2) -> Path:
    """Several workers, as processes; what is before and after the regions is done in this one."""
    out.mkdir()
    card = find_model(case.model.parent, case.model.name)
    with open_slide(case.slide) as slide:
        info = describe(case.slide, slide)
        request = JobRequest(slide_id=info.id, model=card.name, region_px=region_px, roi=case.roi)
        job_id = Run(slide, info, card, request, out).job_id  # polygons have it in their names
        plan = stages.plan_job(slide, info, request, card, out, job_id, choose_precision("auto", "cpu", card))
        with workers(case, out, count, plan.regions):
            pass
        stages.finish_job(slide, info, plan, out, created_at=datetime.now(UTC), timings_s={})
    return out


def same(one: Path, other: Path) -> None:
    """Compare planes and outputs byte by byte."""
    ours, theirs = (stitch.open_labels(folder) for folder in (one, other))
    for name in PLANES:
        if getattr(ours, name) is not None:
            pixels = np.asarray(getattr(ours, name)[:, :])
            np.testing.assert_array_equal(pixels, np.asarray(getattr(theirs, name)[:, :]), err_msg=name)
            assert name == "interior" or pixels.any()
    for name in ("objects.parquet", "labels.ome.tif", "regions.geojson.gz", "statistics.json", "preview.png"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.fixture
def seeing(made_slide: Callable[..., Path], stained: NDArray[np.uint8], tmp_path: Path) -> Case:
    """A made slide, and a network of random weights with tiles of 512 px."""
    pixels = stained[200:500, 200:900]
    return Case(made_slide(pixels), write_seeing_model(tmp_path / "models" / "seeing", pixels[:288, :512], TILE_PX))


@pytest.fixture
def real(cmu_slide: Path, repo_root: Path) -> Case:
    """A shipped model, with tiles of 1024 px and an interior map, on two of them."""
    return Case(cmu_slide, repo_root / "models" / "zoo" / "nuclei-fast", (900, 700, 1200, 1000))


@pytest.mark.process
@pytest.mark.slow
def test_neither_the_size_of_regions_nor_the_number_of_workers_shows(seeing: Case, tmp_path: Path) -> None:
    expected = alone(seeing, tmp_path / "tile", TILE_PX)
    for asked, used in ((256, 512), (768, 1024)):
        same(alone(seeing, tmp_path / str(asked), asked), expected)
        plan = stages.read_plan(tmp_path / str(asked))
        assert plan is not None
        assert plan.region_px == used
    same(together(seeing, tmp_path / "two", 256), expected)


@pytest.mark.process
@pytest.mark.slow
def test_nor_with_a_shipped_model_on_a_real_slide(real: Case, tmp_path: Path) -> None:
    same(together(real, tmp_path / "two", 256), alone(real, tmp_path / "one", 2048))
