"""Text that comes from outside, fit to be written."""

import re

REPLACED = "\ufffd"
"""Stands for a byte of a name that is not UTF-8, as in names that come in a form."""

_SURROGATE = re.compile(r"[\ud800-\udfff]")


def printable(text: object) -> str:
    """Return a text that can be written as UTF-8: a lone surrogate, as Python keeps any other byte, is `REPLACED`."""
    return _SURROGATE.sub(REPLACED, str(text))
