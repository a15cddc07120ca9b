"""Health: is the process up, and can it do its work."""

import tempfile
from typing import Literal

from fastapi import APIRouter

from server.routes.deps import JobsDep, StoreDep
from server.web.errors import error_responses
from workers.core.errors.base import Unavailable
from workers.core.frozen import Frozen

router = APIRouter(tags=["health"])

PROBES = frozenset({"/healthz", "/readyz"})
"""What load balancers and supervisors ask, some with a parameter of their own that keeps caches away."""


class Health(Frozen):
    """The parts that were looked at; one that fails is named by the error instead."""

    status: Literal["ok"] = "ok"
    parts: tuple[str, ...] = ()


@router.get("/healthz")
async def healthz() -> Health:
    """Answer whenever the process is up."""
    return Health()


@router.get("/readyz", responses=error_responses(503))
def readyz(store: StoreDep, jobs: JobsDep) -> Health:
    """Answer 200 if Redis answers and the data folder can be written, else 503 naming the part."""
    try:
        with tempfile.TemporaryFile(dir=store.root) as file:
            file.write(b"ready")
            file.flush()
    except OSError as error:
        raise Unavailable("The data folder cannot be written.", value=error.strerror) from error
    jobs.ping()
    return Health(parts=("store", "queue"))
