"""What may spoil a section, by name, and how much of a slide it spoils."""

from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, FailFast, Field

from workers.core.frozen import Frozen

QualityName = Literal["ink", "fold", "blur"]
QUALITY_NAMES: tuple[QualityName, ...] = get_args(QualityName)
"""In the order in which one stands above the other where both are seen."""

LAYER = "quality.geojson.gz"
"""The output that is made where it is asked for by `quality`."""


def _all(value: object) -> object:
    if isinstance(value, bool):
        return QUALITY_NAMES if value else ()
    return value


def _in_order(names: tuple[QualityName, ...]) -> tuple[QualityName, ...]:
    return tuple(name for name in QUALITY_NAMES if name in names)


QualityNames = Annotated[
    tuple[QualityName, ...],
    FailFast(),
    BeforeValidator(_all, json_schema_input_type=bool | tuple[QualityName, ...]),
    AfterValidator(_in_order),
]
"""Some of the names; true is all of them, false none."""


class QualityArea(Frozen):
    """How much of one kind there is, counted in px of the overview."""

    name: QualityName
    mm2: float
    share_of_tissue: float = Field(description="0 to 1; of focus, of the tissue that was looked at.")


class Quality(Frozen):
    """How much of a job's tissue is spoiled."""

    areas: tuple[QualityArea, ...]
    folds_told: bool = Field(description="Whether there is enough tissue to tell folds.")
    focus_fields: int = Field(description="Fields of 256 µm that hold tissue; 0 on a slide too coarse to tell focus.")
    focus_fields_read: int = Field(description="Those that were looked at; the rest is taken to be as they are.")

    def share(self, name: QualityName) -> float:
        """Return the share of one kind."""
        return next((area.share_of_tissue for area in self.areas if area.name == name), 0.0)
