"""Every code that an answer of 400 and above may have, and what it means: from the classes, and the two of none."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from functools import cache

from workers.core import errors
from workers.core.errors.base import LDiffusionError

PACKAGE = f"{errors.__name__}."
CLASSLESS = {
    "internal_error": (500, "A fault of the server itself; its log says more."),
    "method_not_allowed": (405, "The address takes no such method; `accepted` names those that it takes."),
}
"""HTTP status and meaning of the codes that no class has of its own."""


def error_classes(branch: type[LDiffusionError] = LDiffusionError) -> Iterator[type[LDiffusionError]]:
    """Yield the classes of `workers.core.errors` that are below one, each before those below it, else by code."""
    if branch is LDiffusionError:
        for module in pkgutil.iter_modules(errors.__path__, PACKAGE):
            importlib.import_module(module.name)
    for leaf in sorted(branch.__subclasses__(), key=lambda kind: kind.code):
        if leaf.__module__.startswith(PACKAGE):
            yield leaf
            yield from error_classes(leaf)


def meaning(kind: type[LDiffusionError]) -> str:
    """Return the first paragraph of a class's docstring, on one line."""
    return " ".join(inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0].split())


@cache
def titles() -> dict[str, str]:
    """Return what each code means, in a sentence that is the same each time."""
    return {kind.code: meaning(kind) for kind in error_classes()} | {
        code: text for code, (_, text) in CLASSLESS.items()
    }
