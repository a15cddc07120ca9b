"""Readiness when the queue is not there: said, and never in the way of what the disk alone can answer."""

import socket
from collections.abc import Callable
from contextlib import AbstractContextManager

import httpx

from workers.core.settings import Settings

GatewayWith = Callable[[Settings], AbstractContextManager[str]]


def test_a_gateway_without_queue_lives_but_is_not_ready(gateway_settings: Settings, gateway_with: GatewayWith) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    settings = gateway_settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{port}/0"})
    with gateway_with(settings) as url, httpx.Client(base_url=url, trust_env=False) as client:
        assert client.get("/healthz").status_code == 200
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["error"]["code"]) == (503, "queue_unavailable")
        assert client.get("/v1/slides").json() == {"items": [], "next_cursor": None}
        assert client.get(f"/v1/jobs/{'0' * 32}/result").json()["error"]["code"] == "job_not_found"
        assert client.get("/v1/jobs").json()["error"]["code"] == "queue_unavailable"
