"""What the server says of itself to those who write programs for it. Needs no key: it is the same on every server."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from server.web.errors_page import html_page
from server.web.files import ask_anew

router = APIRouter(include_in_schema=False)

PUBLIC = ("/docs/errors",)


@router.get("/docs/errors", response_class=HTMLResponse)
def get_error_codes(request: Request) -> Response:
    """Fetch the page of all error codes, to which `type` of an error leads."""
    return ask_anew(request, html_page().encode(), "text/html")
