"""What the server calls a slide that a client sends: by this name an upload of before is found again."""

import re
import unicodedata

FILENAME_MAX = 200


def display_name(filename: str) -> str:
    """Return the last component of a file name, fit to be shown: no path, no control characters."""
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", filename))[-1]
    shown = "".join(letter for letter in last if unicodedata.category(letter)[0] != "C").strip()
    if shown in ("", ".", ".."):
        return "slide"
    stem, dot, extension = shown.rpartition(".")
    return shown if len(shown) <= FILENAME_MAX else f"{stem[: FILENAME_MAX - 20]}{dot}{extension[:19]}"
