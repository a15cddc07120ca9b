"""The coarse preview of a job that runs: what is expected where, from samples, until regions have landed there."""

from pydantic import Field

from workers.core.frozen import Frozen

COARSE = "coarse-preview.json"
"""In the folder of a job, from its first minutes until it is finished."""


class ExpectedShare(Frozen):
    """Of one class."""

    index: int
    name: str
    share: tuple[float | None, ...] = Field(description="Of the cell's tissue, 0 to 1; null where nothing is expected.")


class CoarsePreview(Frozen):
    """Cells row by row, the first at the slide's corner; the last of a row and of a column may end beside the slide."""

    cell_px: tuple[float, float] = Field(description="Width and height of a cell, level-0 px.")
    columns: int
    rows: int
    samples: int = Field(description="Places of the slide that the model has seen for it.")
    samples_mm2: float = Field(description="How much tissue they are.")
    classes: tuple[ExpectedShare, ...] = Field(description="All but the background.")
    per_mm2: tuple[float | None, ...] | None = Field(
        description="Objects per mm² of the cell; null where nothing is expected, and of a model that counts none so."
    )
