"""Probes: readiness when the queue is not there, and questions that carry more than they need."""

import re
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager

import httpx

from server.app import create_app
from server.routes.operators.health import PROBES
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


def test_probes_take_any_parameter_and_nothing_else_does(gateway: httpx.Client) -> None:
    for probe in PROBES:
        assert gateway.get(probe, params={"_": "1700000000", "x": ""}).status_code == 200
    declared = {
        path
        for path, methods in create_app(Settings()).openapi()["paths"].items()
        if "get" in methods and path not in PROBES
    }
    assert len(declared) > 20
    for path in declared:
        address = re.sub(r"\{(\w+)\}", lambda part: "0" if part[1] in ("level", "col", "row") else 32 * "0", path)
        answer = gateway.get(address, params={"_": "1700000000"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "parameter_unknown"), path
