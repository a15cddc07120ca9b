"""Errors of ours on their way out of a child: told as JSON there, raised again here, of the kinds that it may tell."""

from collections.abc import Iterable

from workers.core.errors.base import LDiffusionError, SlideUnreadable
from workers.core.schemas import ErrorBody


def body_of(error: LDiffusionError) -> ErrorBody:
    """Return what a child says of an error."""
    return ErrorBody.model_validate(error.as_dict())


def told_error(body: ErrorBody, kinds: Iterable[type[LDiffusionError]]) -> LDiffusionError:
    """Return the error that a child told of; of another kind than these, it is one of the file."""
    kind = next((each for each in kinds if each.code == body.code), SlideUnreadable)
    return kind(body.message, value=body.value, accepted=body.accepted)
