"""Text in pictures with the one font that comes with Pillow, so that they look the same on every machine.

That font knows ASCII and little else: `µ` and `²` are put together from its letters, accents are dropped.
"""

import unicodedata
from functools import lru_cache

from PIL import ImageDraw, ImageFont

from workers.core.class_colours import Color

MICRO, SQUARED = "µ", "²"
OWN_SIGNS = frozenset("·…°±")
"""What the font has beyond ASCII, of what we write."""
RAISED_SIZE, RAISED_BY = 0.62, 0.36
TAIL_LEFT, TAIL_WIDTH, TAIL_DEPTH, TAIL_TOP = 0.08, 0.09, 0.19, 0.2
"""The tail that makes a u a µ, in parts of the font size: it lengthens the left stem of the u."""


def write(pen: ImageDraw.ImageDraw, at: tuple[float, float], text: str, color: Color, size: int, anchor: str) -> None:
    """Write one line; `anchor` is l, m or r (across), then a (top of letters) or m (middle), as Pillow has them."""
    ascent, descent = font(size).getmetrics()
    x = at[0] - {"l": 0.0, "m": 0.5, "r": 1.0}[anchor[0]] * width_of(text, size)
    baseline = at[1] + (ascent if anchor[1] == "a" else (ascent - descent) / 2)
    for sign in plain(text):
        if sign == SQUARED:
            pen.text((x, baseline - RAISED_BY * size), "2", color, _raised(size), anchor="ls")
        else:
            pen.text((x, baseline), "u" if sign == MICRO else sign, color, font(size), anchor="ls")
        if sign == MICRO:
            left, thickness = round(x + TAIL_LEFT * size), round(TAIL_WIDTH * size)
            tail = (left, baseline - TAIL_TOP * size, left + thickness - 1, baseline + TAIL_DEPTH * size)
            pen.rectangle(tail, color)
        x += _advance(sign, size)


def width_of(text: str, size: int) -> float:
    """Return the width in px of a text as `write` writes it."""
    return sum(_advance(sign, size) for sign in plain(text))


def fitted(text: str, width: float, size: int) -> str:
    """Return a text, shortened so that it has room."""
    if width_of(text, size) <= width:
        return text
    while text and width_of(text + "…", size) > width:
        text = text[:-1]
    return text + "…"


def plain(text: str) -> str:
    """Return a text in signs that can be written; what has no base letter becomes a question mark."""
    signs = []
    for sign in text.replace("\u03bc", MICRO):
        if sign.isascii() or sign in OWN_SIGNS or sign in (MICRO, SQUARED):
            signs.append(sign if sign.isprintable() else " ")
        else:
            base = unicodedata.normalize("NFKD", sign)[0]
            signs.append(base if base.isascii() else "?")
    return "".join(signs)


@lru_cache
def font(size: float) -> ImageFont.FreeTypeFont:
    """Return the font in a size in px."""
    found = ImageFont.load_default(size)
    if not isinstance(found, ImageFont.FreeTypeFont):
        message = "Pillow was built without FreeType"
        raise TypeError(message)
    return found


def _raised(size: int) -> ImageFont.FreeTypeFont:
    return font(RAISED_SIZE * size)


def _advance(sign: str, size: int) -> float:
    if sign == SQUARED:
        return _raised(size).getlength("2")
    return font(size).getlength("u" if sign == MICRO else sign)
