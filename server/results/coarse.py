"""The coarse preview of a job that runs, without what has landed since: there the overlay shows what is true."""

from itertools import product
from math import ceil

from pydantic import ValidationError

from workers.core.label_layout import LABELS, chunks_present
from workers.core.objects.coarse import COARSE, CoarsePreview
from workers.core.schemas import Plan
from workers.core.store import Store

EDGE = 1e-6
"""Of a region: a cell that ends with one does not reach into the next."""


def coarse_of(store: Store, job_id: str) -> CoarsePreview | None:
    """Return the coarse preview of a job; what it says of cells whose regions have all landed is null.

    Returns:
        None if there is none: not yet, not any more, or the job makes none.

    Raises:
        ResultNotReady: The job is not planned.
    """
    plan, folder = store.read_plan(job_id), store.job_dir(job_id)
    try:
        preview = CoarsePreview.model_validate_json((folder / COARSE).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    columns, rows = -(-plan.w_width // plan.region_px), -(-plan.w_height // plan.region_px)
    waiting = {divmod(index, columns) for index in plan.regions} - chunks_present(folder, LABELS, rows)
    shown = [
        not waiting.isdisjoint(_regions_under(preview, plan, row, column))
        for row, column in product(range(preview.rows), range(preview.columns))
    ]

    def still(values: tuple[float | None, ...]) -> tuple[float | None, ...]:
        return tuple(value if show else None for value, show in zip(values, shown, strict=True))

    classes = tuple(each.model_copy(update={"share": still(each.share)}) for each in preview.classes)
    per_mm2 = None if preview.per_mm2 is None else still(preview.per_mm2)
    return preview.model_copy(update={"classes": classes, "per_mm2": per_mm2})


def _regions_under(preview: CoarsePreview, plan: Plan, row: int, column: int) -> set[tuple[int, int]]:
    """Return row and column of the regions that a cell reaches into."""
    spans = []
    for at, side_px, mpp in ((row, preview.cell_px[1], plan.mpp_y), (column, preview.cell_px[0], plan.mpp_x)):
        region_l0 = plan.region_px * plan.model_mpp / mpp
        spans.append(range(int(at * side_px / region_l0 + EDGE), ceil((at + 1) * side_px / region_l0 - EDGE)))
    return {(row, column) for row in spans[0] for column in spans[1]}
