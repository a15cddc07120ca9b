"""The name of a request: given by its sender or made here, in its answer, in the logs, and in what comes of it.

It travels in the context of the task, so that whatever answers or writes a line knows it, also in a thread.
"""

import logging
import re
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.web.root_path import shown_path

HEADER = "x-request-id"
ACCEPTED = re.compile(r"(?!.*ldk_)[A-Za-z0-9._-]{1,64}")
"""What a sender may name its request. What looks like a key is none of it: the name goes into logs."""


SUBJECT = re.compile(r"/v1/(jobs|slides|uploads)/([0-9a-f]{32})(?:/|$)")


@dataclass(frozen=True, slots=True)
class Asked:
    """What an answer tells of the request that it is to.

    Attributes:
        name: Of the request.
        root_path: The prefix that links in the answer begin with.
        path: As the client wrote it, without its query; None before the request was understood.
    """

    name: str
    root_path: str = ""
    path: str | None = None


_asked: ContextVar[Asked | None] = ContextVar("asked", default=None)


def asked() -> Asked | None:
    """Return the request that is worked on; None outside of any."""
    return _asked.get()


def request_id() -> str | None:
    """Return the name of the request that is worked on; None outside of any."""
    found = _asked.get()
    return found.name if found else None


def ids_of_request() -> dict[str, str]:
    """Return what lines of the log are about: the request that is worked on, the job or slide that its path names."""
    found = _asked.get()
    if found is None:
        return {}
    named = SUBJECT.search(found.path or "")
    return {"request": found.name} | ({named[1].removesuffix("s"): named[2]} if named else {})


def id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the name that the headers of a request give it, or a new one if they give none, two, or one that is none.

    Args:
        headers: With names in lower case.
    """
    given = [value.decode("latin-1") for name, value in headers if name == HEADER.encode()]
    return given[0] if len(given) == 1 and ACCEPTED.fullmatch(given[0]) else uuid.uuid4().hex


@contextmanager
def working_on(request: Asked) -> Iterator[str]:
    """Have what happens within belong to this request; gives its name."""
    token = _asked.set(request)
    try:
        yield request.name
    finally:
        _asked.reset(token)


class RequestIds:
    """Names each request, and says the name in its answer, whatever this is.

    Args:
        app: What it stands before.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, and the answer back with its name."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = name
            await send(message)

        request = Asked(id_of(scope["headers"]), str(scope.get("root_path", "")), shown_path(scope))
        with working_on(request) as name:
            await self._app(scope, receive, send_named)


def tell_request(record: logging.LogRecord) -> bool:
    """Give a record of the log the name of its request as `request`, ready to be written; keeps every record."""
    name = request_id()
    record.request = f" [{name}]" if name else ""
    return True
