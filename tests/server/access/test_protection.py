"""The guards in front of a real HTTP server: what a client on a socket sees of them."""

import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from access_fixtures import small_app
from fastapi import FastAPI

from server.access.gate import Access, open_access
from server.access.keys import Keys
from server.access.protection import protect
from workers.core.settings import Settings

WAIT_S = 30.0


@pytest.fixture
def client(tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of the small application on a real server, behind its guards, with an empty data folder."""
    settings = Settings(data_dir=tmp_path)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Access]]:
        yield {"access": open_access(settings)}

    app = small_app()
    app.router.lifespan_context = lifespan
    server = uvicorn.Server(uvicorn.Config(protect(app, settings), log_config=None, ws="none"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with httpx.Client(base_url=url, timeout=WAIT_S, trust_env=False) as client:
            yield client
        server.should_exit = True
        thread.join()


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_a_running_server_sees_keys_come_and_go(client: httpx.Client, tmp_path: Path) -> None:
    assert client.get("/v1/slides/1/file").status_code == 200
    key, token = Keys(tmp_path).create("one", "lab-a", ("read",))
    until(lambda: client.get("/v1/slides/1").status_code == 401)
    headers = {"authorization": f"Bearer {token}"}
    assert client.get("/v1/slides/1", headers=headers).json() == "lab-a"
    Keys(tmp_path).revoke(key.id)
    until(lambda: client.get("/v1/slides/1", headers=headers).status_code == 401)
    assert client.get("/healthz").status_code == 200


def test_who_sends_much_without_a_key_sees_why_it_is_refused(client: httpx.Client, tmp_path: Path) -> None:
    """And no reset connection, as closing a socket full of unread bytes would make it."""
    Keys(tmp_path).create("one", "lab-a", ("read",))
    until(lambda: client.get("/v1/slides").status_code == 401)
    answer = client.post("/v1/slides", content=b"x" * (8 * 2**20))
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "unauthorized"
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert "content-security-policy" in answer.headers


def test_each_request_has_a_note_of_its_own(client: httpx.Client, tmp_path: Path) -> None:
    """On one connection, what was refused or fetched before says nothing of what comes after."""
    client.get("/v1/slides/1/file")
    assert client.get("/v1/slides", headers={"host": "evil.example"}).status_code == 403
    client.get("/v1/slides")
    client.post("/v1/slides", content=b"x")
    actions = [line.partition('"action": "')[2][:6] for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert actions == ["downlo", "refusa", "change"]
