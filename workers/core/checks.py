"""What long work calls again and again, so that whoever no longer wants it can end it."""

from collections.abc import Callable

Check = Callable[[], None]
"""Returns if the work goes on; raises if nobody wants it any more."""


def unchecked() -> None:
    """Go on."""
