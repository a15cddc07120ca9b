"""A document part of which a command writes: what lies between two marks is replaced, the rest is left as it is."""

import sys
from pathlib import Path


def fill(document: Path, begin: str, end: str, text: str) -> bool:
    """Put text between two marks of a document, and tell whether it has them."""
    before, found, rest = document.read_text(encoding="utf-8").partition(begin) if document.is_file() else ("", "", "")
    _, closing, after = rest.partition(end)
    if not found or not closing:
        return False
    document.write_text(f"{before}{begin}\n{text}{end}{after}", encoding="utf-8")
    return True


def fill_or_tell(document: Path, begin: str, end: str, text: str) -> None:
    """Put text between two marks of a document; where it has none, print it, to be put there by hand."""
    if not fill(document, begin, end, text):
        sys.stdout.write(f"{document} has no lines {begin} and {end}; to be put there by hand:\n{text}\n")
