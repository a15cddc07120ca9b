"""How every benchmark ends: one JSON line per figure, after the table for people."""

import json
from typing import NamedTuple


class Figure(NamedTuple):
    """What one line says; `spread` is the smallest and the largest measurement."""

    name: str
    value: float
    unit: str
    spread: tuple[float, float] | None = None


def figure(name: str, value: float, unit: str, spread: tuple[float, float] | None = None) -> None:
    """Print one figure; `spread` is its smallest and largest measurement."""
    line = {"figure": name, "value": round(value, 4), "unit": unit}
    if spread is not None:
        line["spread"] = [round(v, 4) for v in spread]
    print(json.dumps(line))
