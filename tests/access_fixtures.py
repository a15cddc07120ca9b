"""A small application behind all its guards, with routes of each kind. No lifespan, no queue."""

import json
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, FastAPI, Request
from fastapi.responses import HTMLResponse
from starlette.types import ASGIApp

from server.access.gate import Access, open_access
from server.access.guards import ADMIN_ONLY, DOWNLOAD, CallerDep
from server.access.keys import Keys
from server.access.principals import SCOPES, Scope
from server.access.protection import protect
from server.web.errors import add_error_handlers
from workers.core.errors.base import SlideNotFound
from workers.core.settings import Settings

OWNERS = {"1": "lab-a", "2": "lab-b"}
PAGE = "<!doctype html><title>x</title>"


router = APIRouter()


@router.get("/healthz")
async def healthz() -> str:
    return "ok"


@router.get("/v1/slides")
async def list_slides(caller: CallerDep) -> list[str]:
    return [slide for slide, owner in OWNERS.items() if caller.sees(owner)]


@router.get("/v1/slides/{slide_id}")
async def get_slide(slide_id: str, caller: CallerDep) -> str:
    missing = SlideNotFound("No slide has this id.", value=slide_id)
    if slide_id not in OWNERS:
        raise missing
    caller.check_owner(OWNERS[slide_id], missing)
    return caller.tenant


@router.post("/v1/slides")
async def upload(request: Request, caller: CallerDep) -> str:
    await request.body()
    return caller.tenant


@router.post("/v1/jobs")
async def submit(job: Annotated[dict[str, str], Body()], caller: CallerDep) -> str:
    return caller.tenant


@router.get("/v1/slides/{slide_id}/file", dependencies=[DOWNLOAD])
async def fetch(slide_id: str, caller: CallerDep) -> str:
    return slide_id


@router.get("/v1/keys", dependencies=[ADMIN_ONLY])
async def operate(caller: CallerDep) -> str:
    return caller.tenant


@router.post("/v1/links")
async def link(caller: CallerDep) -> str:
    return caller.tenant


@router.delete("/v1/slides/{slide_id}")
async def fail(slide_id: str) -> str:
    raise ZeroDivisionError(slide_id)


@router.get("/", response_class=HTMLResponse)
async def page() -> str:
    return PAGE


def small_app() -> FastAPI:
    """Return an application whose things belong to tenants; it knows nothing of keys."""
    app = FastAPI()
    app.include_router(router)
    add_error_handlers(app)
    return app


def guarded(folder: Path, **changes: object) -> tuple[ASGIApp, Access]:
    """Return the small application behind its guards, and what it opens at its start."""
    settings = Settings.model_validate({"data_dir": folder, **changes})
    return protect(small_app(), settings), open_access(settings)


def key_of(folder: Path, *scopes: Scope, tenant: str = "lab-a") -> str:
    """Return a new key of a data folder; with every scope if none is given."""
    return Keys(folder).create("made", tenant, scopes or SCOPES)[1]


def log_of(access: Access) -> list[dict[str, Any]]:
    """Return the lines of the audit log."""
    return [json.loads(line) for path in access.audit.files() for line in path.read_text().splitlines()]
