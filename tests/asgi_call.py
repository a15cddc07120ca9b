"""One request to an ASGI application, byte for byte as a test writes it: headers twice, none at all, a body unread."""

import asyncio
import json
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import pytest
from starlette.types import ASGIApp, Message

from server.access.gate import Access

HOME = ("host", "localhost:8000")


@dataclass
class Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    reads: int = 0

    @property
    def code(self) -> str:
        return str(json.loads(self.body)["error"]["code"])


def call(
    app: ASGIApp,
    method: str,
    url: str,
    headers: Iterable[tuple[str, str]] = (),
    *,
    access: Access | None = None,
    host: tuple[str, str] | None = HOME,
    body: bytes = b"",
    client: str = "127.0.0.1",
    fails: type[Exception] | None = None,
) -> Answer:
    """Send one request and return its answer; `reads` counts how often the application asked for the body.

    An application that fails as it is expected to has answered before.
    """
    path, _, query = url.partition("?")
    given = [*([host] if host else []), *headers, *([("content-length", str(len(body)))] if body else [])]
    scope: dict[str, Any] = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in given],
        "client": (client, 40000),
        "server": ("127.0.0.1", 8000),
        "state": {} if access is None else {"access": access},
    }
    answer = Answer()

    async def receive() -> Message:
        answer.reads += 1
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode(): value.decode("latin-1") for name, value in message["headers"]}
        else:
            answer.body += message.get("body", b"")

    with pytest.raises(fails) if fails else nullcontext():
        asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    return answer


def bearer(token: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")]
