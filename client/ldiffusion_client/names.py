"""What the server calls a slide that a client sends: by this name an upload of before is found again."""

import re
import unicodedata

FILENAME_MAX = 200
REPLACED = "\ufffd"
"""Stands for a byte of a name that is not UTF-8."""

_SURROGATE = re.compile(r"[\ud800-\udfff]")


def printable(text: object) -> str:
    """Return a text that can be written as UTF-8: a lone surrogate, as Python keeps any other byte, is `REPLACED`."""
    return _SURROGATE.sub(REPLACED, str(text))


def display_name(filename: str) -> str:
    """Return the last component of a file name, fit to be shown: no path, no control characters."""
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", printable(filename)))[-1]
    shown = "".join(letter for letter in last if unicodedata.category(letter)[0] != "C").strip()
    if shown in ("", ".", ".."):
        return "slide"
    stem, dot, extension = shown.rpartition(".")
    return shown if len(shown) <= FILENAME_MAX else f"{stem[: FILENAME_MAX - 20]}{dot}{extension[:19]}"
