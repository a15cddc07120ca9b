"""A region of interest on a command line: the same for `ldiffusion segment` and `ldiffusion submit`."""

import json
from math import isfinite
from pathlib import Path
from typing import Any

import click

BOX_NUMBERS = 4


class RoiOption(click.ParamType[Any]):
    """Four numbers with commas between, level-0 px, or a file that holds GeoJSON."""

    name = "box|file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return what the field `roi` of a job takes; what that refuses is told where it is read."""
        numbers = value.split(",") if isinstance(value, str) else ()
        try:
            if len(numbers) == BOX_NUMBERS and not Path(value).is_file():
                return [_finite(number) for number in numbers]
            text = Path(value).read_text(encoding="utf-8-sig")  # some editors begin a file with a mark
            return json.loads(text, parse_constant=_finite)
        except (OSError, ValueError, RecursionError) as error:
            self.fail(f"{value!r} is neither a box x0,y0,x1,y1 nor a file of GeoJSON: {error}", param, ctx)


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        message = f"{text} is no number of px"
        raise ValueError(message)
    return number
