"""Labels of people's own on slides and jobs: accession, case, block, whatever they search by.

They may name patients: they stand in records, in answers and in the index, and never in a log.
"""

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

from workers.core.errors.base import RequestInvalid

LABELS_MAX = 32
KEY_CHARS_MAX = 64
VALUE_CHARS_MAX = 256
KEYS = f"1 to {KEY_CHARS_MAX} letters, digits, `_`, `.` and `-`, the first a letter or digit"
VALUES = f"1 to {VALUE_CHARS_MAX} printable characters, no space at either end"

_KEY = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,{KEY_CHARS_MAX - 1}}}")


def is_key(text: str) -> bool:
    """Whether this can be the name of a label."""
    return _KEY.fullmatch(text) is not None


def is_value(text: str) -> bool:
    """Whether this can be what a label says."""
    return 0 < len(text) <= VALUE_CHARS_MAX and text.isprintable() and text == text.strip()


def checked(labels: Mapping[str, str | None]) -> Mapping[str, str | None]:
    """Return labels that are so; None stands for one that is to go.

    Raises:
        ValueError: There are too many, or a name or value is none.
    """
    if len(labels) > LABELS_MAX:
        message = f"{len(labels)} labels, and {LABELS_MAX} are accepted"
        raise ValueError(message)
    for key, value in labels.items():
        if not is_key(key):
            message = f"the name of a label is none; accepted are {KEYS}"
            raise ValueError(message)
        if value is not None and not is_value(value):
            message = f"the label {key} has no value; accepted are {VALUES}"
            raise ValueError(message)
    return labels


Labels = Annotated[
    dict[str, str],
    AfterValidator(checked),
    Field(
        description="Labels of your own, such as `case` or `block`.", examples=[{"case": "S26-01234", "block": "A1"}]
    ),
]
LabelChanges = Annotated[
    dict[str, str | None],
    AfterValidator(checked),
    Field(description="Labels to set; null takes one away, and those that are not named stay."),
]


def changed(labels: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    """Return labels with changes.

    Raises:
        RequestInvalid: Those would be too many.
    """
    both = {**labels, **changes}
    found = {key: value for key, value in both.items() if value is not None}
    if len(found) > LABELS_MAX:
        raise RequestInvalid("labels: those would be too many.", value=len(found), accepted=f"{LABELS_MAX} labels")
    return found


def read_label(text: str) -> tuple[str, str]:
    """Return name and value of a label that is written `name:value`.

    Raises:
        ValueError: It is none.
    """
    key, colon, value = text.partition(":")
    if not (colon and is_key(key) and is_value(value)):
        message = "a label is written name:value"
        raise ValueError(message)
    return key, value
