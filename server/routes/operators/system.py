"""The server itself, for who runs it and for programs that watch it: its state as JSON, its metrics for Prometheus."""

from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Header, Request, Response
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder

from server.access.guards import ADMIN_ONLY, CallerDep
from server.routes.deps import LooksDep, SettingsDep
from server.telemetry.exposition import Shown
from server.telemetry.system import SystemView, system_of
from server.web.document import told
from server.web.errors import error_responses
from workers.core.model import catalogue

router = APIRouter()

TEXT = CONTENT_TYPE_PLAIN_0_0_4.partition(";")[0]
OPEN_METRICS = "application/openmetrics-text"
SAID = {"schema": {"type": "string"}}


@router.get("/v1/system", tags=["system"], responses=error_responses(503))
async def get_system(request: Request, settings: SettingsDep, looks: LooksDep, caller: CallerDep) -> SystemView:
    """Say how busy the server is, and, to a key with the scope `admin`, who works and how full its disk is."""
    models = await to_thread.run_sync(catalogue.list_models, settings.models_dir)
    return system_of(
        await looks.scene(),
        request.app.version,
        [card.name for card in models],
        settings.disk_reserve_bytes,
        for_operator="admin" in caller.principal.scopes,
    )


@router.get(
    "/metrics",
    tags=["system"],
    dependencies=[ADMIN_ONLY],
    response_class=Response,
    responses={
        200: {
            "description": "The metrics of docs/metrics.md.",
            "content": {TEXT: SAID, OPEN_METRICS: SAID},
            **told("Cache-Control"),
        }
    },
)
async def get_metrics(
    request: Request, looks: LooksDep, accept: Annotated[str, Header(include_in_schema=False)] = ""
) -> Response:
    """Fetch the metrics in the text format of Prometheus, or as OpenMetrics where that is asked for."""
    encode, media_type = choose_encoder(accept)
    shown = Shown(await looks.scene(), request.app.version)
    text = await to_thread.run_sync(partial(encode, shown))
    return Response(text, headers={"content-type": media_type, "cache-control": "no-store"})
