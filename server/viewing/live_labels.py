"""Class indices of a job that runs: of the regions that have landed, as if they were a finished job's; others are 0.

Frames: `l0_` level-0 px, `w_` working px.
"""

import threading
import time
from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from server.viewing.label_tiles import Labels, LabelTiles, Level
from workers.core.label_layout import LABELS, chunks_present, level_steps, read_labels
from workers.core.schemas import Plan

OVERVIEW_PX = 2**21
"""Most pixels of what is held of a job: levels up to this size come from memory, finer ones from single regions."""
LOOK_S = 1.0
"""How long what was found of the landed regions is taken as true."""
FOLD_PX = 2**28
"""Most working px that one look takes in, so that whoever asks first of a large job does not wait for all of it."""


class Box(NamedTuple):
    """A rectangle of a level, in its px."""

    x0: int
    y0: int
    x1: int
    y1: int


class LiveLabels(LabelTiles):
    """The labels of a job as far as it is. For any thread.

    Where a region has landed, a tile is the same as the one that the finished job will have.

    Args:
        job_dir: Folder of the job.
        plan: The job's plan.
    """

    def __init__(self, job_dir: Path, plan: Plan) -> None:
        steps = level_steps(plan.w_width, plan.w_height)
        super().__init__(plan, [Level(k, -(-plan.w_width // k), -(-plan.w_height // k)) for k in steps])
        self._job_dir = job_dir
        self._planned_at = self._plan_time()
        self._region_px = plan.region_px
        small = [level for level in self.levels if level.width * level.height <= OVERVIEW_PX]
        self._level = small[0]
        self._overview = np.zeros((self._level.height, self._level.width), np.uint8)
        self._landed: set[tuple[int, int]] = set()
        self._looked_at = -LOOK_S
        self._lock = threading.Lock()

    def is_current(self) -> bool:
        """Whether the job still has the plan it had: it may have been canceled, or planned anew."""
        return self._planned_at is not None and self._plan_time() == self._planned_at

    def _plan_time(self) -> int | None:
        try:
            return (self._job_dir / "plan.json").stat().st_mtime_ns
        except FileNotFoundError:
            return None

    def _read(self, level: Level, x0: int, y0: int, x1: int, y1: int) -> Labels:
        if level.step >= self._level.step:
            self._look()
            every = level.step // self._level.step
            return self._overview[y0 * every : y1 * every : every, x0 * every : x1 * every : every].copy()
        out, box, side = np.zeros((y1 - y0, x1 - x0), np.uint8), Box(x0, y0, x1, y1), self._region_px
        for row in range(y0 * level.step // side, (y1 - 1) * level.step // side + 1):
            for col in range(x0 * level.step // side, (x1 - 1) * level.step // side + 1):
                self._paste(out, box, level.step, (row, col))
        return out

    def _look(self) -> None:
        """Take the regions into the overview that have landed since the last look."""
        with self._lock:
            if time.monotonic() - self._looked_at < LOOK_S:
                return
            rows = -(-self.levels[0].height // self._region_px)
            found = chunks_present(self._job_dir, LABELS, rows)
            fresh = sorted(found - self._landed)
            most = max(1, FOLD_PX // self._region_px**2)
            whole = Box(0, 0, self._level.width, self._level.height)
            for place in fresh[:most]:
                self._paste(self._overview, whole, self._level.step, place)
                self._landed.add(place)
            if len(fresh) <= most:
                self._looked_at = time.monotonic()

    def _paste(self, out: Labels, box: Box, step: int, place: tuple[int, int]) -> None:
        """Write the px of a region that lie in a box of the level of this step, if the region has landed.

        Args:
            out: uint8, the pixels of the box.
            box: In px of the level.
            step: The level holds every `step`-th working px.
            place: Row and column of the region.
        """
        side = self._region_px
        labels = read_labels(self._job_dir, *place, side)
        if labels is None:
            return
        w_y, w_x = place[0] * side, place[1] * side
        y0, y1 = max(box.y0, ceil(w_y / step)), min(box.y1, ceil((w_y + side) / step))
        x0, x1 = max(box.x0, ceil(w_x / step)), min(box.x1, ceil((w_x + side) / step))
        part = labels[y0 * step - w_y :: step, x0 * step - w_x :: step]
        out[y0 - box.y0 : y1 - box.y0, x0 - box.x0 : x1 - box.x0] = part[: y1 - y0, : x1 - x0]
