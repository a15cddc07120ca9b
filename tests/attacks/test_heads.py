"""Heads that do not end, do not come, or come in crowds: each is bounded, and everybody else is served meanwhile."""

import socket
import threading
import time
from contextlib import suppress

import pytest
from attack_fixtures import HEAD_BYTES, HEAD_S, MIB, Attacked, get, read_answer, read_one

pytestmark = [pytest.mark.process, pytest.mark.slow]

BYSTANDER_S = 2.0
OPEN_HEAD = b"GET /v1/slides HTTP/1.1\r\nHost: localhost\r\n"


def send_until_refused(connection: socket.socket, piece: bytes, most: int) -> int:
    """Send a piece again and again; return how many bytes went out before the other side hung up."""
    sent = 0
    with suppress(OSError):
        while sent < most:
            connection.sendall(piece)
            sent += len(piece)
    return sent


def test_a_header_without_end_is_cut_off_and_holds_nobody_up(attacked: Attacked) -> None:
    before = attacked.settled_mib()
    sent = []

    def attack(number: int) -> None:
        connection = attacked.connect(f"127.0.0.{10 + number}")
        connection.sendall(OPEN_HEAD + b"X-Endless: ")
        sent.append(send_until_refused(connection, b"a" * 2**16, 72 * MIB))

    threads = [threading.Thread(target=attack, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    longest = max(attacked.seconds_of_a_request() for _ in range(10))
    for thread in threads:
        thread.join()
    assert len(sent) == 4
    assert max(sent) < 16 * MIB  # what the kernel takes, and a little
    assert longest < BYSTANDER_S
    assert attacked.resident_mib() - before < 32
    assert len(attacked.told("head_too_long")) == 1


@pytest.mark.parametrize(
    ("head", "value"),
    [
        (b"X-Long: " + b"a" * (HEAD_BYTES // 2) + b"\r\n", "a header of"),
        (b"".join(b"X-%d: 1\r\n" % number for number in range(101)), "headers"),
        (b"".join(b"X-%d: %s\r\n" % (number, b"a" * 1000) for number in range(40)), "more than"),
    ],
)
def test_a_head_past_a_limit_is_refused_by_name(attacked: Attacked, head: bytes, value: str) -> None:
    status, body = attacked.ask(OPEN_HEAD + head + b"\r\n")
    assert (status, body["error"]["code"]) == (431, "head_too_long")
    assert value in body["error"]["value"]
    assert "at most" in body["error"]["accepted"]


def test_a_target_past_the_limit_is_refused_by_name(attacked: Attacked) -> None:
    status, body = attacked.ask(get("/v1/slides?" + "a" * (HEAD_BYTES // 2)))
    assert (status, body["error"]["code"]) == (431, "head_too_long")


def test_a_head_within_the_limits_is_taken_however_it_is_cut(attacked: Attacked) -> None:
    whole = OPEN_HEAD + b"".join(b"X-%d: %s\r\n" % (number, b"a" * 300) for number in range(90)) + b"\r\n"
    assert HEAD_BYTES * 0.8 < len(whole) < HEAD_BYTES
    connection = attacked.connect()
    for start in range(0, len(whole), 7000):
        connection.sendall(whole[start : start + 7000])
        time.sleep(0.02)
    assert connection.recv(12) == b"HTTP/1.1 200"


def test_a_silent_socket_is_closed(attacked: Attacked) -> None:
    started = time.monotonic()
    assert attacked.connect().recv(1) == b""
    assert HEAD_S * 0.9 <= time.monotonic() - started < HEAD_S + BYSTANDER_S


@pytest.mark.parametrize("begun", [b"GET /", OPEN_HEAD, b"\r\n\r\n"])
def test_half_a_head_is_told_that_it_is_late_however_slowly_it_goes_on(attacked: Attacked, begun: bytes) -> None:
    connection = attacked.connect()
    connection.sendall(begun)
    started = time.monotonic()
    with suppress(OSError):
        while time.monotonic() - started < HEAD_S * 0.8:
            time.sleep(0.1)
            connection.sendall(b"\r\n" if begun.startswith(b"\r") else b"A")
    status, body = read_answer(connection)
    assert (status, body["error"]["code"]) == (408, "request_late")
    assert time.monotonic() - started < HEAD_S + BYSTANDER_S


def test_half_a_head_behind_an_answer_is_late_too(attacked: Attacked) -> None:
    connection = attacked.connect()
    connection.sendall(get("/healthz").replace(b"Connection: close\r\n", b""))
    assert read_one(connection) == 200
    connection.sendall(OPEN_HEAD)
    assert read_answer(connection)[0] == 408


def test_what_is_no_request_is_told_in_the_one_shape(attacked: Attacked) -> None:
    status, body = attacked.ask(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")  # TLS
    assert (status, body["error"]["code"]) == (400, "request_malformed")


def test_requests_behind_one_another_are_bounded(attacked: Attacked) -> None:
    before = attacked.settled_mib()
    flood = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50_000
    connections = [attacked.connect() for _ in range(3)]
    for connection in connections:
        assert send_until_refused(connection, flood, len(flood)) <= len(flood)
    assert attacked.seconds_of_a_request() < BYSTANDER_S
    assert attacked.resident_mib() - before < 32
    assert len(attacked.told("request_malformed")) >= 1
