"""Bodies that are read as a whole are bounded before they are read; uploads go by as they come."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from server.app import create_app
from server.routes.uploads import is_streamed
from server.web.bodies import BODY_MAX_BYTES, BodyCap
from workers.core.settings import Settings

OPENAPI: dict[str, Any] = create_app(Settings()).openapi()
CAP = 1000
CHUNKED = (b"transfer-encoding", b"chunked")


async def whole(_scope: Scope, receive: Receive, send: Send) -> None:
    """An application that reads its body as a whole, and answers with its length."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message["body"]), message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


def sent(path: str, pieces: list[bytes], *headers: tuple[bytes, bytes], method: str = "POST") -> tuple[int, bytes, int]:
    """Status and body of the answer, and how many pieces were read before it began."""
    scope: dict[str, Any] = {"type": "http", "method": method, "path": path, "headers": headers}
    left, reads = list(pieces), 0
    status, reads_before, answer = 0, 0, b""

    async def receive() -> Message:
        nonlocal reads
        reads += 1
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    async def send(message: Message) -> None:
        nonlocal status, reads_before, answer
        if message["type"] == "http.response.start":
            status, reads_before = message["status"], reads
        else:
            answer += message["body"]

    asyncio.run(BodyCap(whole, is_streamed, CAP)(scope, receive, send))
    return status, answer, reads_before


def test_an_endless_body_is_read_up_to_the_cap_and_no_further() -> None:
    status, body, reads = sent("/v1/links", [b"x" * 100] * 5000, CHUNKED)
    assert (status, json.loads(body)["error"]["code"], reads) == (413, "upload_too_large", CAP // 100 + 1)


def test_a_body_that_claims_too_much_is_not_read() -> None:
    status, _, reads = sent("/v1/links", [b"x" * 2000], (b"content-length", b"2000"))
    assert (status, reads) == (413, 0)


def test_a_body_up_to_the_cap_arrives_whole() -> None:
    assert sent("/v1/links", [b"x" * 100] * 10, CHUNKED)[:2] == (200, b"1000")


def test_an_upload_goes_by_however_long_it_is() -> None:
    for method, path in (("POST", "/v1/slides"), ("PUT", "/v1/slides"), ("PATCH", f"/v1/uploads/{'0' * 32}")):
        assert sent(path, [b"x" * 100] * 50, CHUNKED, method=method)[:2] == (200, b"5000")


@pytest.mark.parametrize(("method", "path"), [(m, p) for p, ms in OPENAPI["paths"].items() for m in ms])
def test_what_goes_by_is_exactly_what_takes_no_json(method: str, path: str) -> None:
    content = OPENAPI["paths"][path][method].get("requestBody", {}).get("content", {})
    assert is_streamed(method.upper(), path) == (bool(content) and "application/json" not in content)


def test_a_chunk_of_an_upload_that_comes_as_a_post_goes_by_too(gateway: httpx.Client) -> None:
    headers = {
        "X-HTTP-Method-Override": "PATCH",
        "Tus-Resumable": "1.0.0",
        "Upload-Offset": "0",
        "Content-Type": "application/offset+octet-stream",
    }
    answer = gateway.post(f"/v1/uploads/{'0' * 32}", content=b"x" * (BODY_MAX_BYTES + 1), headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "upload_not_found")


def test_a_gateway_refuses_a_long_body_in_the_one_shape_and_goes_on(gateway: httpx.Client) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(BODY_MAX_BYTES // 2**16 + 16):
            yield b" " * 2**16

    answer = gateway.post("/v1/links", content=endless(), headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "upload_too_large")
    assert gateway.post("/v1/links", json={"path": "/v1/jobs"}).status_code == 200
