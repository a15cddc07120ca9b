"""What people call each metric. All are fractions of 1, which studies show in percent.

Of all the higher is the better, but for those in `LOWER_IS_BETTER`.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Metric:
    """The name of a metric.

    Attributes:
        heading: In tables and figures.
        narrow: The same above a narrow column; the heading if empty.
    """

    heading: str
    narrow: str = ""

    @property
    def column(self) -> str:
        """What stands above a narrow column."""
        return self.narrow or self.heading


# By their keys in `evaluation.json`.
METRICS: Final = {
    "dice": Metric("Dice"),
    "iou": Metric("IoU"),
    "accuracy": Metric("accuracy", "acc."),
    "precision": Metric("precision", "prec."),
    "mean_dice": Metric("DICE"),
    "mpa": Metric("MPA"),
    "miou": Metric("mIoU"),
    "fwiou": Metric("FwIoU"),
    "f1": Metric("F1"),
    "recall": Metric("recall"),
    "aji": Metric("AJI"),
    "pq": Metric("PQ"),
    "sq": Metric("SQ"),
    "dq": Metric("DQ"),
    "count_error": Metric("count error"),
}
OF_A_CLASS: Final = ("dice", "iou", "accuracy", "precision")
MEANS: Final = ("mean_dice", "mpa", "miou", "fwiou")
BINARY: Final = ("iou", "f1", "precision", "recall")
OF_OBJECTS: Final = ("aji", "pq", "sq", "dq", "f1", "precision", "recall", "count_error")
LOWER_IS_BETTER: Final = ("count_error",)


def heading_of(figure: str) -> str:
    """Return the heading of a figure of a study: a mean's name, or the path with dots of what a class has."""
    return METRICS[figure].heading if figure in MEANS else figure
