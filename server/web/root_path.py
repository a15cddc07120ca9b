"""The path below which a proxy shows this server: `/wsi` of `https://lab.example/wsi/v1/jobs`. Pure ASGI.

A proxy may take the prefix off or leave it on. Behind `RootPath` both look alike, as ASGI has it: `scope["root_path"]`
is the prefix, and `scope["path"]` begins with it. Whoever asks for a path of ours asks `path_of`, and whoever tells one
to a client tells what `link_to` makes of it; nothing else looks at the two.
"""

import re
from urllib.parse import quote

from starlette.types import ASGIApp, Receive, Scope, Send

from workers.core.errors.base import RequestInvalid
from workers.core.settings import Settings

OWN = ("assets", "docs", "healthz", "metrics", "openapi.json", "readyz", "v1")
"""First parts of the server's own paths: below one of these, nobody could tell with the prefix from without."""

ACCEPTED = f"empty, or a path such as /wsi of letters, digits and -._~; first part none of {', '.join(OWN)}"
ROOT_MAX_CHARS = 256
_HALF = re.compile("%.?$")
_ROOT = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)*")


def parse_root_path(text: str) -> str | None:
    """Return the prefix that a text names, without a slash at its end, empty for none; None if it is no prefix."""
    root = text.removesuffix("/")
    is_root = len(root) <= ROOT_MAX_CHARS and _ROOT.fullmatch(root) is not None
    return root if is_root and not any(_is_below(root, f"/{part}") for part in OWN) else None


def root_path_of(settings: Settings) -> str:
    """Return the prefix of the settings, empty for none.

    Raises:
        RequestInvalid: It is no prefix, or cannot be told from the server's own paths.
    """
    root = parse_root_path(settings.root_path)
    if root is None:
        raise RequestInvalid("root_path: not a path prefix.", value=settings.root_path, accepted=ACCEPTED)
    return root


def path_of(scope: Scope) -> str:
    """Return the server's own path of a request, decoded: `/v1/jobs`, whatever the prefix."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    return path[len(root) :] or "/" if _is_below(path, root) else path


def shown_path(scope: Scope, most: int = 200) -> str:
    """Return the path of a request as a client writes it, with the prefix, percent-encoded, without its query.

    A path that begins with two slashes would mean another host, where it stands as a reference: of them one is left.

    Args:
        scope: Of the request.
        most: Characters; none is cut in half.
    """
    whole = "/" + quote(str(scope["path"]).lstrip("/"))
    return _HALF.sub("", whole[:most]) if len(whole) > most else whole


def link_to(root_path: str, path: str) -> str:
    """Return how a client on this host asks for one of the server's own paths.

    Args:
        root_path: The prefix, empty for none: of the request, or, where there is no request, of the settings.
        path: Such as `/v1/jobs`.
    """
    return f"{root_path}{path}"


def without_root(root_path: str, path: str) -> str:
    """Return the server's own path of one that a client names with the prefix or without."""
    return path[len(root_path) :] if _is_below(path, root_path) else path


class RootPath:
    """Gives every request its prefix, and a path that begins with it.

    Args:
        app: What it stands before.
        root_path: The prefix of requests that have none yet, as a trusted proxy may give them one.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on."""
        if scope["type"] in ("http", "websocket"):
            root = scope.get("root_path") or self._root_path
            path = scope["path"] if _is_below(scope["path"], root) else link_to(root, scope["path"])
            scope = {**scope, "root_path": root, "path": path}
        await self._app(scope, receive, send)


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(f"{root}/")
