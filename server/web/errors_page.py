"""`python -m server.web.errors_page > docs/errors.md`: every error that the server answers with, as a page."""

import sys
from functools import cache
from html import escape

from server.web.error_catalogue import CLASSLESS, error_classes, meaning
from server.web.errors import status_of
from workers.core.errors.base import LDiffusionError

HEAD = """# Errors

Every answer of 400 and above says what is wrong in one shape: a code for programs, a sentence for a person, the offending value and what would have been
accepted (both may be null). A job that failed has the same under `error`, with a code of this page.

```json
{"type": "/docs/errors#mpp_implausible", "title": "What is said of the µm per pixel is nothing that a scanner makes.", "status": 422, "detail": "The requested mpp is no plausible slide resolution.", "instance": "/v1/jobs", "request_id": "0c5f6f4e2b1d4a7c9e3f8a6b5d2c1e0f", "error": {"code": "mpp_implausible", "message": "The requested mpp is no plausible slide resolution.", "value": "353.0", "accepted": "mpp from 0.05 to 100.0 µm per pixel"}}
```

It is sent as `application/problem+json`: beside `error` are the problem details of RFC 9457. `type` is the address of the code on a running server (`/docs/errors`),
`title` what it means, `detail` the sentence of this case, `instance` the path of the request, `request_id` its name, which the header `X-Request-Id` has as well.

Beside these, an address that takes no such method answers 405 `method_not_allowed`, and a fault of the server itself is 500 `internal_error`.

This page is printed from the classes in `workers/core/errors/`: `python -m server.web.errors_page > docs/errors.md`.
"""  # noqa: E501 # lines of Markdown
HTML = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>L-Diffusion Server: errors</title></head>
<body>
<h1>Errors</h1>
<p>The codes of all answers of 400 and above, and of jobs that failed. <a href="../docs">The interface</a></p>
<table>
<thead><tr><th>code</th><th>HTTP</th><th>means</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
</body>
</html>
"""


def page() -> str:
    """Return the Markdown of the page: a section for each branch of the tree, a row for each class."""
    branches = [kind for kind in error_classes() if kind.__base__ is LDiffusionError]
    return "\n".join([HEAD, *(_section(branch) for branch in sorted(branches, key=status_of))])


def _section(branch: type[LDiffusionError]) -> str:
    rows = [f"| `{kind.code}` | {status_of(kind)} | {meaning(kind)} |" for kind in (branch, *error_classes(branch))]
    return "\n".join([f"## {branch.__name__}", "", "| code | HTTP | means |", "|---|---|---|", *rows, ""])


@cache
def html_page() -> str:
    """Return the page for browsers: each code has its own name as the anchor."""
    known = [(kind.code, status_of(kind), meaning(kind)) for kind in error_classes()]
    known += [(code, status, text) for code, (status, text) in CLASSLESS.items()]
    rows = (
        f'<tr id="{code}"><td><code>{code}</code></td><td>{status}</td><td>{escape(text)}</td></tr>'
        for code, status, text in sorted(known)
    )
    return HTML.format(rows="\n".join(rows))


if __name__ == "__main__":
    sys.stdout.write(page())
