"""The name of a request: in its answer whatever this is, in what the server writes, and never what it must not be."""

import json
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest
from access_fixtures import guarded, key_of, log_of
from asgi_call import bearer, call
from hypothesis import given
from hypothesis import strategies as st
from job_requests import add_slide, submit

from ldiffusion_client import Client, RemoteError
from server.access import keys as keys_module
from server.process.gateway import LOG_FORMAT
from server.web.request_ids import Asked, id_of, request_id, tell_request, working_on
from workers.core.settings import Settings
from workers.core.store import Store

GatewayWith = Callable[[Settings], AbstractContextManager[str]]
GOOD = ["a", "case-17", "A.b_c-9", "0" * 64, "7f1c2c1e-8f4b-4b0e-9d6c-1c8f1c2c1e8f"]
BAD = ["", "0" * 65, "a b", "a\tb", "ä", "a/b", "a\n", "ldk_1f0c_secret", "x-ldk_1f0c_secret", "<script>", "a,b"]


@pytest.fixture(autouse=True)
def fresh_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "CHECK_S", 0.0)


@pytest.mark.parametrize("name", GOOD)
def test_a_plain_word_is_taken(name: str) -> None:
    assert id_of([(b"host", b"x"), (b"x-request-id", name.encode())]) == name


@pytest.mark.parametrize("name", BAD)
def test_anything_else_gets_a_new_name(name: str) -> None:
    made = {id_of([(b"x-request-id", name.encode())]) for _ in range(2)}
    assert len(made) == 2
    assert name not in made


def test_two_names_are_none() -> None:
    assert id_of([(b"x-request-id", b"a"), (b"x-request-id", b"a")]) != "a"


@given(st.binary(max_size=80))
def test_whatever_comes_the_name_is_plain_and_short(value: bytes) -> None:
    name = id_of([(b"x-request-id", value)])
    assert 1 <= len(name) <= 64
    assert all(letter.isascii() and (letter.isalnum() or letter in "._-") for letter in name)
    assert name.encode() == value or len(name) == 32


@pytest.mark.parametrize(
    ("method", "url", "host", "status"),
    [
        *(
            ("GET", "/healthz", "localhost", 200),
            ("GET", "/v1/slides", "localhost", 401),
            ("GET", "/no", "localhost", 401),
        ),
        *(("GET", "/", "evil.example", 403), ("DELETE", "/v1/slides/1", "localhost", 500)),
        ("PROPFIND", "/healthz", "localhost", 401),
    ],
)
def test_every_answer_has_it_and_errors_tell_it(tmp_path: Path, method: str, url: str, host: str, status: int) -> None:
    app, access = guarded(tmp_path)
    token = key_of(tmp_path)
    fails = ZeroDivisionError if status == 500 else None
    named_so = [("x-request-id", "case-17"), *(bearer(token) if status == 500 else [])]
    answer = call(app, method, url, named_so, access=access, host=("host", host), fails=fails)
    assert answer.status == status
    assert answer.headers["x-request-id"] == "case-17"
    assert status < 400 or json.loads(answer.body)["request_id"] == "case-17"
    assert request_id() is None


def test_the_audit_log_has_it(tmp_path: Path) -> None:
    app, access = guarded(tmp_path)
    token = key_of(tmp_path)
    answers = [call(app, "POST", "/v1/slides", bearer(token), access=access, body=b"x") for _ in range(2)]
    call(app, "POST", "/v1/slides", [*bearer(token), ("x-request-id", "case-17")], access=access, body=b"x")
    call(app, "GET", "/v1/slides", [("x-request-id", "refused-1")], access=access)
    names = [answer.headers["x-request-id"] for answer in answers]
    assert len(set(names)) == 2
    assert [line["request_id"] for line in log_of(access)] == [*names, "case-17", "refused-1"]
    access.audit.verify()


@pytest.fixture
def log_lines() -> Iterator[list[str]]:
    """Every line that the gateway's log would have."""
    lines: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler = Kept()
    handler.addFilter(tell_request)
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield lines
    root.removeHandler(handler)
    root.setLevel(level)


def test_lines_of_the_log_have_it_within_a_request_and_not_without(log_lines: list[str]) -> None:
    logger = logging.getLogger("made")
    logger.warning("before")
    with working_on(Asked("case-17")):
        logger.warning("within")
    logger.warning("after")
    assert [line.partition("gateway ")[2] for line in log_lines] == [
        "made: before",
        "made [case-17]: within",
        "made: after",
    ]


def test_an_access_and_a_job_are_told_with_the_name(
    gateway: httpx.Client, gateway_settings: Settings, log_lines: list[str]
) -> None:
    gateway.headers["x-request-id"] = "case-17"
    job_id = submit(gateway, add_slide(Store(gateway_settings.data_dir), 0.5)).json()["id"]
    told = [line for line in log_lines if "[case-17]" in line]
    assert any(f"job {job_id} is asked for" in line for line in told)
    assert any('"POST /v1/jobs HTTP/1.1" 202' in line and "uvicorn.access" in line for line in told)


def test_a_refusal_before_the_parser_has_one_too(gateway: httpx.Client) -> None:
    for sent in (b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nX-Request-Id: case-17\r\nX: " + 2**17 * b"a"):
        with socket.create_connection((gateway.base_url.host, gateway.base_url.port or 80)) as connection:
            connection.sendall(sent)
            received = b""
            while piece := connection.recv(65536):
                received += piece
        head, _, body = received.partition(b"\r\n\r\n")
        told = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])[b"x-request-id"].decode()
        assert json.loads(body)["request_id"] == told
        assert told == "case-17" if b"case-17" in sent else len(told) == 32


def test_the_client_tells_it(gateway: httpx.Client) -> None:
    with Client(str(gateway.base_url)) as client, pytest.raises(RemoteError) as caught:
        client.slide("0" * 32)
    assert caught.value.request_id is not None
    assert len(caught.value.request_id) == 32
    assert str(caught.value) == f"{caught.value.message} (request {caught.value.request_id})"
