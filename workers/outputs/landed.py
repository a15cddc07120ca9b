"""Which outputs of a finish are complete, with their digests: written down after each, so that another worker goes on.

The record belongs to one plan and goes when `result.json` is there. What it names is read again before it is believed.
"""

import logging
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError

from workers.core.checks import Check, unchecked
from workers.core.digests import sha256_of
from workers.core.frozen import Frozen
from workers.core.label_layout import STORE
from workers.core.objects.coarse import COARSE
from workers.core.slides.slide import Slide
from workers.core.storage.files import write_json
from workers.pipeline import bad_tiles
from workers.process.cancellation import interruptible

LANDED = "landed.json"
PLAN = "plan.json"

logger = logging.getLogger(__name__)

_TEMPORARY = re.compile(r"\.[0-9a-f]{12}\..+")
"""How `atomic_write` names what is not complete."""


class Output(Frozen):
    """An output that is complete."""

    sha256: str
    size_bytes: int
    seconds: float


class Record(Frozen):
    """`landed.json`."""

    plan_sha256: str
    outputs: Mapping[str, Output] = Field(default_factory=dict)


class Landed:
    """The outputs of a job's folder that need not be made again.

    Args:
        out_dir: Folder of the job; holds `plan.json`.
    """

    def __init__(self, out_dir: Path) -> None:
        self._folder = out_dir
        plan = sha256_of(out_dir / PLAN)
        try:
            found = Record.model_validate_json((out_dir / LANDED).read_bytes())
        except (FileNotFoundError, ValidationError):
            found = Record(plan_sha256=plan)
        kept = found.outputs if found.plan_sha256 == plan else {}
        whole = {name: output for name, output in kept.items() if self._is_whole(name, output)}
        self._record = Record(plan_sha256=plan, outputs=whole)

    def __contains__(self, name: str) -> bool:
        return name in self._record.outputs

    def __getitem__(self, name: str) -> Output:
        return self._record.outputs[name]

    def add(self, name: str, seconds: float) -> None:
        """Write down that an output is complete, with its digest."""
        path = self._folder / name
        output = Output(sha256=sha256_of(path), size_bytes=path.stat().st_size, seconds=round(seconds, 3))
        self._record = self._record.model_copy(update={"outputs": {**self._record.outputs, name: output}})
        write_json(self._folder / LANDED, self._record)

    def close(self) -> None:
        """Remove the record, and the coarse preview: `result.json` says it all."""
        for name in (LANDED, COARSE):
            (self._folder / name).unlink(missing_ok=True)

    def _is_whole(self, name: str, output: Output) -> bool:
        path = self._folder / name
        return path.is_file() and path.stat().st_size == output.size_bytes and sha256_of(path) == output.sha256


@dataclass(frozen=True, slots=True)
class Told:
    """Who hears how a finish goes on.

    Args:
        check: Called before each output; raises if the work is no longer wanted.
        announce: Called with the name of each output before it is made.
        landed: Called with the name of each output that was made, once it is known to be complete.
    """

    check: Check = unchecked
    announce: Callable[[str], None] = lambda _name: None
    landed: Callable[[str], None] = lambda _name: None


NOBODY = Told()

Writers = Mapping[str, Callable[[Path], object]]
"""How each output is written, by its name."""
Prepare = Callable[[Sequence[str]], AbstractContextManager[Writers]]
"""Gives the writers of what is to be made, as long as the context lasts."""


def make_outputs(out_dir: Path, names: Sequence[str], prepare: Prepare, slide: Slide, told: Told) -> Landed:
    """Make the outputs that an earlier try did not complete, in order; what of the slide cannot be read is noted."""
    landed = Landed(out_dir)
    todo = [name for name in names if name not in landed]
    with prepare(todo) as writers:
        for name in todo:
            told.check()
            told.announce(name)
            started = time.perf_counter()
            with interruptible():
                writers[name](out_dir / name)
            bad_tiles.note(out_dir, f"finish-{name}", slide)  # the preview reads more of the slide than the regions did
            landed.add(name, time.perf_counter() - started)
            told.landed(name)
            logger.info("%s of job %s in %.1f s", name, out_dir.name, landed[name].seconds)
    return landed


def sweep_temporaries(out_dir: Path) -> int:
    """Remove what writers that were killed left half-written in the folder of a job; return how many files."""
    stale = [path for path in out_dir.iterdir() if _TEMPORARY.fullmatch(path.name)]
    stale += (out_dir / STORE).rglob("*.partial")
    stale += [path for path in (out_dir / STORE).rglob(".*.*") if _TEMPORARY.fullmatch(path.name)]
    for path in stale:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(stale)
