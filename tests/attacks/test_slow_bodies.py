"""Bodies that stop are dropped; bodies, events and answers that are slow and move are not."""

import socket
import time
from contextlib import suppress

import pytest
from attack_fixtures import BODY_IDLE_S, HEAD_BYTES, HEAD_S, MIB, Attacked, get, read_answer

pytestmark = [pytest.mark.process, pytest.mark.slow]

LINKS = b"POST /v1/links HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
CHUNKED = LINKS + b"Transfer-Encoding: chunked\r\n\r\n"
BODY = b'{"path": "/v1/jobs"}'
IN_TIME_S = 2.0


def drip(connection: socket.socket, body: bytes, pieces: int) -> float:
    """Send a body in pieces, with pauses that are short and last longer in all than a silence may; return how long."""
    started = time.monotonic()
    step = -(-len(body) // pieces)
    for start in range(0, len(body), step):
        connection.sendall(body[start : start + step])
        time.sleep(BODY_IDLE_S * 0.4)
    return time.monotonic() - started


def create_upload(attacked: Attacked, size: int) -> str:
    """Return the path of a new resumable upload."""
    head = f"POST /v1/uploads HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\nUpload-Length: {size}\r\n"
    with attacked.connect() as connection:
        connection.sendall(f"{head}Upload-Metadata: filename c2xpZGUudGlm\r\nConnection: close\r\n\r\n".encode())
        answer = connection.recv(65536).decode()
    return next(line.split(": ")[1] for line in answer.split("\r\n") if line.lower().startswith("location"))


def chunk_head(path: str, size: int) -> bytes:
    """Return the head of a request that appends to an upload."""
    lines = ["Host: localhost", "Tus-Resumable: 1.0.0", "Upload-Offset: 0", f"Content-Length: {size}"]
    lines += ["Content-Type: application/offset+octet-stream", "Connection: close"]
    return "\r\n".join([f"PATCH {path} HTTP/1.1", *lines, "", ""]).encode()


def test_half_a_body_is_told_that_it_is_late(attacked: Attacked) -> None:
    connection = attacked.connect()
    connection.sendall(LINKS + b"Content-Length: 100\r\n\r\n{")
    started = time.monotonic()
    status, body = read_answer(connection)
    assert (status, body["error"]["code"]) == (408, "request_late")
    assert BODY_IDLE_S * 0.9 < time.monotonic() - started < BODY_IDLE_S + IN_TIME_S


def test_a_body_that_is_slow_and_moves_arrives(attacked: Attacked) -> None:
    connection = attacked.connect()
    connection.sendall(LINKS + b"Content-Length: %d\r\n\r\n" % len(BODY))
    assert drip(connection, BODY, 7) > 2 * BODY_IDLE_S
    assert read_answer(connection)[0] == 200


def test_a_chunk_of_an_upload_that_is_slow_and_moves_is_on_the_disk(attacked: Attacked) -> None:
    path, connection = create_upload(attacked, 7000), attacked.connect()
    connection.sendall(chunk_head(path, 7000))
    assert drip(connection, b"x" * 7000, 7) > 2 * BODY_IDLE_S
    assert connection.recv(12) == b"HTTP/1.1 204"


def test_an_upload_that_stops_is_told_so_by_its_route_and_keeps_what_came(attacked: Attacked) -> None:
    path, connection = create_upload(attacked, 7000), attacked.connect()
    connection.sendall(chunk_head(path, 7000) + b"x" * 3000)
    status, body = read_answer(connection)
    assert (status, body["error"]["code"]) == (400, "upload_incomplete")
    assert attacked.ask(get(path))[1]["offset"] == 3000


def test_half_a_body_that_no_route_reads_is_dropped_as_well(attacked: Attacked) -> None:
    connection = attacked.connect()
    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nx")
    started = time.monotonic()
    assert connection.recv(65536)
    while connection.recv(65536):
        pass
    assert time.monotonic() - started < BODY_IDLE_S + IN_TIME_S


@pytest.mark.parametrize("begun", [b"1;", b"1\r\n{\r\n0\r\nX-Trailer: "])
def test_extensions_and_trailers_are_as_short_as_a_head(attacked: Attacked, begun: bytes) -> None:
    before = attacked.settled_mib()
    connection = attacked.connect()
    connection.sendall(CHUNKED + begun)
    sent = 0
    try:
        while sent < 16 * MIB:
            connection.sendall(b"a" * HEAD_BYTES)
            sent += HEAD_BYTES
    except OSError:
        pass
    assert sent < 16 * MIB
    assert attacked.resident_mib() - before < 16
    assert attacked.told("head_too_long")


def test_trailers_are_nobodys_headers(attacked: Attacked) -> None:
    size = b"%x\r\n" % len(BODY)
    trailers = b"".join(b"X-Trailer-%d: 1\r\n" % number for number in range(200))
    assert attacked.ask(CHUNKED + size + BODY + b"\r\n0\r\n" + trailers + b"\r\n")[0] == 200


def test_events_go_on_for_longer_than_any_silence_of_a_request(attacked: Attacked) -> None:
    job_id = attacked.make_job()  # first: a connection that says nothing meanwhile may be closed
    connection = attacked.connect()
    connection.sendall(get(f"/v1/jobs/{job_id}/events").replace(b"Connection: close\r\n", b""))
    connection.settimeout(0.1)
    deadline = time.monotonic() + HEAD_S + 2 * BODY_IDLE_S
    while time.monotonic() < deadline:
        with suppress(TimeoutError):
            assert connection.recv(65536), "it has come to an end"


def test_who_reads_slowly_gets_every_answer(attacked: Attacked) -> None:
    asked, connection = 12, attacked.connect()
    once = get("/openapi.json")
    connection.sendall(once.replace(b"Connection: close\r\n", b"") * (asked - 1) + once)
    time.sleep(HEAD_S + 2 * BODY_IDLE_S)
    received = bytearray()
    while piece := connection.recv(2**14):
        received += piece
    assert received.count(b"HTTP/1.1 200 OK") == asked
    assert received.count(b'"openapi":"3') == asked
