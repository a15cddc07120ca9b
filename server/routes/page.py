"""The pages: the viewer, and the interface for those who write programs, as `make viewer` builds both.

They lie in `server/static`; where they were not built, pages that say so. They need no key, as they hold nothing of
anybody: what the viewer shows it asks for like any other client, and the interface is the same on every server.
"""

from html import escape
from pathlib import Path as FilePath
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import FileResponse, HTMLResponse

from server.routes.deps import RootPathDep
from server.web.document import described, operations_of
from server.web.errors_page import html_page
from server.web.files import ask_anew, is_current, validators
from workers.core.errors.base import ResultNotFound

router = APIRouter(include_in_schema=False)

PUBLIC = ("/", "/assets/", "/docs", "/docs/errors", "/openapi.json")
STATIC = FilePath(__file__).resolve().parents[1] / "static"
MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
"""What the build writes, under names that hold a digest. Said here: the system's table of types differs by machine."""

ASK_ANEW = {"cache-control": "no-cache"}
LICENSES = "licenses.md"
"""Of the libraries in the page's script. Its name stays the same."""

NOT_BUILT = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>L-Diffusion Server</title></head>
<body>
<h1>L-Diffusion Server</h1>
<p>The server is up. Its page was not built: <code>make viewer</code> does it, and needs node.</p>
<p>The interface works without it; it is described at <a href="docs">docs</a>.</p>
</body>
</html>
"""

INTERFACE_NOT_BUILT = """<!doctype html>
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


@router.get("/", response_class=HTMLResponse)
def get_page(request: Request) -> Response:
    """Fetch the page. It names its files by their content, so it alone is asked for anew each time."""
    path = STATIC / "index.html"
    if not path.is_file():
        return HTMLResponse(NOT_BUILT, headers=ASK_ANEW)
    return _file_asked_anew(request, path, "text/html")


@router.get("/assets/{name}", response_class=Response)
def get_asset(
    request: Request, name: Annotated[str, Path(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$")]
) -> Response:
    """Fetch a script, style or picture of the page, which never changes, or the licences of what is in it.

    Raises:
        ResultNotFound: The page has no such file.
    """
    path = STATIC / "assets" / name
    if not path.is_file() or (path.suffix not in MEDIA_TYPES and name != LICENSES):
        raise ResultNotFound("The page has no such file.", value=name)
    if name == LICENSES:
        return _file_asked_anew(request, path, "text/plain")
    if is_current(request.headers.get("if-none-match"), name):
        return Response(status_code=304, headers=validators(name))
    return FileResponse(path, media_type=MEDIA_TYPES[path.suffix], headers=validators(name))


@router.get("/openapi.json")
def get_document(request: Request, root_path: RootPathDep) -> Response:
    """Fetch the document of the interface: every address, what it takes and what it answers."""
    return ask_anew(request, described(request.app, root_path), "application/json")


@router.get("/docs", response_class=HTMLResponse)
def get_docs(request: Request) -> Response:
    """Fetch the page of the interface, which shows that document; where it was not built, a list of the addresses."""
    path = STATIC / "docs.html"
    if path.is_file():
        return _file_asked_anew(request, path, "text/html")
    rows = (
        f"<tr><td>{method}</td><td>{escape(path)}</td><td>{escape(operation['description'])}</td></tr>"
        for method, path, operation in operations_of(request.app.openapi())
    )
    return ask_anew(request, INTERFACE_NOT_BUILT.format(rows="\n".join(rows)).encode(), "text/html")


@router.get("/docs/errors", response_class=HTMLResponse)
def get_error_codes(request: Request) -> Response:
    """Fetch the page of all error codes, to which `type` of an error leads."""
    return ask_anew(request, html_page().encode(), "text/html")


def _file_asked_anew(request: Request, path: FilePath, media_type: str) -> Response:
    """Answer with a file that keeps its name when it changes."""
    response = FileResponse(path, media_type=media_type, headers=ASK_ANEW, stat_result=path.stat())
    etag = response.headers["etag"]
    if is_current(request.headers.get("if-none-match"), etag.strip('"')):
        return Response(status_code=304, headers=ASK_ANEW | {"etag": etag})
    return response
