"""What a command needs beside the base of the distribution, and one sentence for who has not installed it."""

import re
from importlib.metadata import PackageNotFoundError, distribution, requires

from workers.core.errors.base import Unavailable

DISTRIBUTION = "ldiffusion-server"
_OF_EXTRA = re.compile(r"""(?P<name>[A-Za-z0-9._-]+).*;\s*extra\s*==\s*['"](?P<extra>[a-z]+)['"]""")


class ExtraMissing(Unavailable):
    """A package of an optional part is not installed."""

    code = "extra_missing"


def need(command: str, *extras: str) -> None:
    """Go on if all that these extras name is installed.

    Args:
        command: What needs them, for people.
        extras: As in `pyproject.toml`. What an extra of ours says of another extra of ours is not followed.

    Raises:
        ExtraMissing: A package is not there. Of a checkout that is not installed nothing is known, and nothing raised.
    """
    for extra in extras:
        if (name := _missing_of(extra)) is not None:
            raise ExtraMissing(
                f"`ldiffusion {command}` needs {name}, which is not installed.",
                accepted=f"pip install '{DISTRIBUTION}[{extra}]'",
            )


def _missing_of(extra: str) -> str | None:
    """Return the first package of an extra that is not installed."""
    found = (_OF_EXTRA.match(line) for line in _requirements())
    named = [match["name"] for match in found if match is not None and match["extra"] == extra]
    return next((name for name in named if not _is_installed(name)), None)


def _requirements() -> list[str]:
    try:
        return requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        return []


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
