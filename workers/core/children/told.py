"""Errors of ours on their way out of a child: told as JSON there, raised again here, of the kinds that it may tell."""

from collections.abc import Iterable

from workers.core.errors.base import LDiffusionError, SlideUnreadable
from workers.core.schemas import ErrorBody


def body_of(error: LDiffusionError) -> ErrorBody:
    """Return what a child says of an error; of a name that is no text, what can be said of it."""
    said = {key: text if text is None else _as_text(text) for key, text in error.as_dict().items()}
    return ErrorBody.model_validate(said)


def told_error(body: ErrorBody, kinds: Iterable[type[LDiffusionError]]) -> LDiffusionError:
    """Return the error that a child told of; of another kind than these, it is one of the file."""
    kind = next((each for each in kinds if each.code == body.code), SlideUnreadable)
    return kind(body.message, value=body.value, accepted=body.accepted)


def _as_text(text: str) -> str:
    return text.encode(errors="surrogateescape").decode(errors="replace")
