"""Many connections: those that ask for nothing make room, those that are at work are counted."""

import subprocess
import sys
from pathlib import Path

import pytest
from attack_fixtures import CONNECTIONS, PER_ADDRESS, Attacked, connections_of, get, read_answer, read_one

from server.process.children import module_environment

pytestmark = [pytest.mark.process, pytest.mark.slow]

IN_TIME_S = 5.0
"""Of a machine with much else to do; who is kept out waits for 20 s and more."""

HALF_BODY = (
    b"POST /v1/links HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
)


def test_a_crowd_of_silent_sockets_of_one_address_keeps_nobody_out(attacked: Attacked) -> None:
    crowd = [attacked.connect("127.0.0.7") for _ in range(4 * PER_ADDRESS)]
    assert attacked.seconds_of_a_request("127.0.0.7") < IN_TIME_S
    assert attacked.seconds_of_a_request() < IN_TIME_S
    assert connections_of(attacked) <= PER_ADDRESS + 1
    assert crowd[0].recv(1) == b""  # the oldest made room
    assert len(attacked.told("connections_exceeded")) == 1


def test_a_crowd_from_everywhere_keeps_nobody_out(attacked: Attacked) -> None:
    for number in range(3 * CONNECTIONS):
        attacked.connect(f"127.0.1.{1 + number}").sendall(b"GET ")
    assert attacked.seconds_of_a_request() < IN_TIME_S
    assert connections_of(attacked) <= CONNECTIONS + 1
    assert len(attacked.told("connections_exhausted")) == 1


def test_a_crowd_of_half_bodies_keeps_nobody_out(attacked: Attacked) -> None:
    for number in range(3 * CONNECTIONS):
        attacked.connect(f"127.0.1.{1 + number}").sendall(HALF_BODY)
    for _ in range(3 * PER_ADDRESS):
        attacked.connect("127.0.0.7").sendall(HALF_BODY)
    assert attacked.seconds_of_a_request("127.0.0.7") < IN_TIME_S
    assert attacked.seconds_of_a_request() < IN_TIME_S
    assert connections_of(attacked) <= CONNECTIONS + 1


def test_an_address_that_is_at_work_everywhere_is_told_so_and_others_are_served(attacked: Attacked) -> None:
    follow(attacked, ["127.0.0.8"] * PER_ADDRESS)
    status, body = read_answer(attacked.connect("127.0.0.8"))
    assert (status, body["error"]["code"]) == (429, "connections_exceeded")
    assert f"at most {PER_ADDRESS}" in body["error"]["accepted"]
    assert attacked.seconds_of_a_request() < IN_TIME_S


def test_a_server_whose_connections_are_all_at_work_says_so(attacked: Attacked) -> None:
    follow(attacked, [f"127.0.2.{1 + number // 10}" for number in range(CONNECTIONS)])
    status, body = read_answer(attacked.connect())
    assert (status, body["error"]["code"]) == (503, "connections_exhausted")


def follow(attacked: Attacked, sources: list[str]) -> None:
    """Follow a job from these addresses: requests that are answered for as long as somebody reads."""
    job = attacked.make_job()
    for source in sources:
        connection = attacked.connect(source)
        connection.sendall(get(f"/v1/jobs/{job}/events").replace(b"Connection: close\r\n", b""))
        assert connection.recv(12) == b"HTTP/1.1 200"


def test_a_connection_that_is_kept_open_is_used_again_and_counts_once(attacked: Attacked) -> None:
    connection = attacked.connect()
    for _ in range(3 * PER_ADDRESS):
        connection.sendall(get("/healthz").replace(b"Connection: close\r\n", b""))
        assert read_one(connection) == 200
    assert connections_of(attacked) == 1


def test_the_limit_of_descriptors_is_as_high_as_it_may_be(attacked: Attacked) -> None:
    limits = Path(f"/proc/{attacked.process.pid}/limits").read_text()
    line = next(line for line in limits.splitlines() if line.startswith("Max open files"))
    soft, hard = line.split()[3:5]
    assert soft == hard


def test_a_gateway_raises_a_low_limit_of_descriptors() -> None:
    code = (
        "import resource; from server.process import descriptors as d; "
        "before = d.room_for_connections(512); d.raise_descriptor_limit(); "
        "print(before, d.room_for_connections(512), *resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run(
        ["bash", "-c", f'ulimit -Sn 300; ulimit -Hn 4096; exec "$0" -c "{code}"', sys.executable],
        env=module_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["44", "512", "4096", "4096"]
