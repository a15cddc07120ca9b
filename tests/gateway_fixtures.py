"""Fixtures of a gateway on loopback: real uvicorn, real queue server, no worker. A plugin of `conftest.py`."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import pytest
import redis
import uvicorn

from server.process.embedded_redis import EmbeddedRedis
from server.process.gateway import server_config
from workers.core.settings import Settings

GatewayWith = Callable[[Settings], AbstractContextManager[str]]


@pytest.fixture(scope="session")
def gateway_queue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a private queue server that the gateways of the suite share."""
    with EmbeddedRedis(tmp_path_factory.mktemp("gateway")) as queue:
        yield queue.url


@pytest.fixture
def empty_queue(gateway_queue: str) -> str:
    """URL of `gateway_queue`, with nothing in it."""
    with redis.Redis.from_url(gateway_queue) as connection:
        connection.flushall()
    return gateway_queue


@pytest.fixture
def gateway_settings(tmp_path: Path, empty_queue: str, model_folder: Path) -> Settings:
    """Settings of `gateway`: an empty data folder, an empty queue, one model without weights."""
    return Settings(
        data_dir=tmp_path / "data",
        models_dir=model_folder.parent,
        redis_url=empty_queue,
        upload_max_bytes=64 * 2**20,
        upload_idle_s=20,
        disk_reserve_bytes=0,
    )


@pytest.fixture
def gateway(gateway_settings: Settings) -> Iterator[httpx.Client]:
    """A client of a gateway that runs in a thread."""
    with running_gateway(gateway_settings) as url, httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture
def gateway_with() -> GatewayWith:
    """Return a function that runs a gateway with other settings, as a context that gives its URL."""
    return running_gateway


@contextmanager
def running_gateway(settings: Settings) -> Iterator[str]:
    """Serve the gateway of these settings on a free port; gives its URL."""
    server = uvicorn.Server(server_config(settings))
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not server.started and thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
