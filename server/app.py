"""The gateway: one composition root. Nothing runs at import."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI

from server.deps import State
from server.errors import add_error_handlers, error_responses
from server.routes import health, jobs, models, results, slides
from server.uploads import Intake
from workers.core.jobs import Jobs
from workers.core.settings import Settings
from workers.core.store import Store

DESCRIPTION = """Whole-slide-image segmentation with L-Diffusion.

Upload a slide, submit a job, follow it, fetch its results. Every error has one shape:
`{"error": {"code", "message", "value", "accepted"}}`. Research use only."""

TAGS = [
    {"name": "slides", "description": "Whole-slide images: streamed in, probed before they are accepted."},
    {"name": "jobs", "description": "Segmentation of one slide by one model."},
    {"name": "results", "description": "Files of a succeeded job. They never change: cache them by their ETag."},
    {"name": "models", "description": "The installed models."},
    {"name": "health", "description": "For supervisors and load balancers."},
]


def create_app(settings: Settings) -> FastAPI:
    """Return the gateway for these settings; the data folder and the queue are opened when it starts."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[State]:
        store = Store(settings.data_dir)
        store.sweep_incoming()
        queue = Jobs(settings.redis_url, settings)
        try:
            yield {"settings": settings, "store": store, "jobs": queue, "intake": Intake(store, settings)}
        finally:
            queue.redis.close()

    app = FastAPI(
        title="L-Diffusion Server",
        description=DESCRIPTION,
        version=installed_version(),
        openapi_tags=TAGS,
        lifespan=lifespan,
        responses=error_responses(422, 500),
        generate_unique_id_function=lambda route: route.name,
    )
    for routes in (slides, jobs, results, models, health):
        app.include_router(routes.router)
    add_error_handlers(app)
    return app


def installed_version() -> str:
    """Return the version of the installed distribution, or `0` in a checkout that is not installed."""
    try:
        return version("ldiffusion-server")
    except PackageNotFoundError:
        return "0"
