"""What all figures share: look, colours that colour-blind readers tell apart, numbers kept beside them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")
Color = tuple[int, int, int]

DPI: Final = 300
# Okabe and Ito (2008), without their yellow, which is too pale for lines on paper.
PALETTE: Final[tuple[Color, ...]] = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (86, 180, 233),
    (230, 159, 0),
    (0, 0, 0),
)
_PALE: Final = 0.85
_GREY: Final = "#8c8c8c"
_LOOK: Final[dict[Any, Any]] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
}


def hex_color(color: Sequence[int]) -> str:
    """(R, G, B) of 0..255 → `#rrggbb`."""
    return "#" + "".join(f"{value:02x}" for value in color)


def ink(color: Sequence[int]) -> str:
    """Return a class's own colour for lines and points; grey where it would not be seen on white paper."""
    red, green, blue = (value / 255 for value in color)
    pale = 0.2126 * red + 0.7152 * green + 0.0722 * blue > _PALE
    return _GREY if pale else hex_color(color)


def line_color(index: int) -> str:
    """Return a colour of the palette, from the start again after its end."""
    return hex_color(PALETTE[index % len(PALETTE)])


def new_figure(width: float, height: float, pad: float = 0.06) -> Figure:
    """Return an empty figure of a size and a padding in inches, not known to pyplot, so that nothing keeps it."""
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=pad, h_pad=pad))


def render(draw: Callable[[], Figure], path: Path) -> None:
    """Draw and write a PNG of `DPI`, by the Agg backend; the same numbers give the same file."""
    with mpl.rc_context(_LOOK):
        draw().savefig(
            path,
            format="png",
            dpi=DPI,
            backend="agg",
            bbox_inches="tight",
            pad_inches=0.05,
            metadata={"Software": None},
        )


def write_numbers(numbers: object, path: Path) -> None:
    """Write a dataclass of numbers as JSON; what is not defined is null."""
    path.write_bytes(TypeAdapter(type(numbers)).dump_json(numbers) + b"\n")


def read_numbers(cls: type[T], path: Path) -> T:
    """Read what `write_numbers` wrote.

    Raises:
        ValueError: The file holds something else.
    """
    try:
        return TypeAdapter(cls).validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise ValueError(f"{path.name} does not hold the numbers of this figure: {place}: {first['msg']}") from error
