"""Statistics as a table for spreadsheets."""

import csv
import io
from collections.abc import Mapping
from typing import Any

from workers.core.class_colours import hex_color

OF_OBJECTS = ("count", "density_per_mm2", "small_count", "small_mm2", "largest_um2")
COLUMNS = ("index", "name", "color", "pixels", "mm2", "share_of_tissue", "mean_confidence", *OF_OBJECTS)
OF_THE_SLIDE = ("tissue_mm2", "slide_mm2")


def statistics_csv(statistics: Mapping[str, Any]) -> str:
    """Return `statistics.json` as CSV (RFC 4180): one row per class, the slide's own numbers repeated in each.

    What there is nothing to divide by for is an empty field, and so is what an older job did not count. A colour is
    `#rrggbb`.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow((*COLUMNS, *OF_THE_SLIDE))
    shared = [statistics[name] for name in OF_THE_SLIDE]
    for each in statistics["classes"]:
        color = hex_color(each["color"])
        writer.writerow([*({**each, "color": color}.get(name) for name in COLUMNS), *shared])
    return text.getvalue()
