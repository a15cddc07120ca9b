"""`python -m server.web.errors_page > docs/errors.md`: every error that the server answers with, as a page."""

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterator

from server.web.errors import status_of
from workers.core import errors
from workers.core.errors.base import LDiffusionError

HEAD = """# Errors

Every answer of 400 and above says what is wrong in one shape: a code for programs, a sentence for a person, the offending value and what would have been
accepted (both may be null). A job that failed has the same under `error`, with a code of this page.

```json
{"error": {"code": "mpp_implausible", "message": "The requested mpp is no plausible slide resolution.", "value": "353.0", "accepted": "mpp from 0.05 to 100.0 µm per pixel"}}
```

Beside these, an address that takes no such method answers 405 `method_not_allowed`, and a fault of the server itself is 500 `internal_error`.

This page is printed from the classes in `workers/core/errors/`: `python -m server.web.errors_page > docs/errors.md`.
"""  # noqa: E501 # lines of Markdown

PACKAGE = f"{errors.__name__}."


def error_classes(branch: type[LDiffusionError] = LDiffusionError) -> Iterator[type[LDiffusionError]]:
    """Yield the classes of `workers.core.errors` that are below one, each before those below it, else by code."""
    for leaf in sorted(branch.__subclasses__(), key=lambda kind: kind.code):
        if leaf.__module__.startswith(PACKAGE):
            yield leaf
            yield from error_classes(leaf)


def page() -> str:
    """Return the Markdown of the page: a section for each branch of the tree, a row for each class."""
    for module in pkgutil.iter_modules(errors.__path__, PACKAGE):
        importlib.import_module(module.name)
    branches = [kind for kind in error_classes() if kind.__base__ is LDiffusionError]
    return "\n".join([HEAD, *(_section(branch) for branch in sorted(branches, key=status_of))])


def _section(branch: type[LDiffusionError]) -> str:
    rows = [f"| `{kind.code}` | {status_of(kind)} | {_meaning(kind)} |" for kind in (branch, *error_classes(branch))]
    return "\n".join([f"## {branch.__name__}", "", "| code | HTTP | means |", "|---|---|---|", *rows, ""])


def _meaning(kind: type[LDiffusionError]) -> str:
    """Return the first paragraph of a class's docstring, on one line."""
    return " ".join(inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0].split())


if __name__ == "__main__":
    sys.stdout.write(page())
