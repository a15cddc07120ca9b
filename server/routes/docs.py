"""What the server says of itself to those who write programs for it. Needs no key: it is the same on every server."""

from html import escape

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from server.routes import page
from server.routes.deps import RootPathDep
from server.web.document import described, operations_of
from server.web.errors_page import html_page
from server.web.files import ask_anew

router = APIRouter(include_in_schema=False)

PUBLIC = ("/docs", "/docs/errors", "/openapi.json")
NOT_BUILT = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>L-Diffusion: interface</title></head>
<body>
<h1>Interface</h1>
<p>All of it is in <a href="openapi.json">openapi.json</a>. The page that shows it was not built:
<code>make viewer</code> does it, and needs node. <a href="docs/errors">Errors</a></p>
<table>
{rows}
</table>
</body>
</html>
"""


@router.get("/openapi.json")
def get_document(request: Request, root_path: RootPathDep) -> Response:
    """Fetch the document of the interface: every address, what it takes and what it answers."""
    return ask_anew(request, described(request.app, root_path), "application/json")


@router.get("/docs", response_class=HTMLResponse)
def get_docs(request: Request) -> Response:
    """Fetch the page of the interface, which shows that document; where it was not built, a list of the addresses."""
    path = page.STATIC / "docs.html"
    if path.is_file():
        return page.file_asked_anew(request, path, "text/html")
    rows = (
        f"<tr><td>{method}</td><td>{escape(path)}</td><td>{escape(operation['description'])}</td></tr>"
        for method, path, operation in operations_of(request.app.openapi())
    )
    return ask_anew(request, NOT_BUILT.format(rows="\n".join(rows)).encode(), "text/html")


@router.get("/docs/errors", response_class=HTMLResponse)
def get_error_codes(request: Request) -> Response:
    """Fetch the page of all error codes, to which `type` of an error leads."""
    return ask_anew(request, html_page().encode(), "text/html")
