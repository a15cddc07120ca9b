"""The gateway: one composition root. Nothing runs at import."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version

from anyio import to_thread
from fastapi import FastAPI
from starlette.routing import BaseRoute

from server.access.gate import open_access
from server.access.quotas import Quotas
from server.access.signing import FIELDS
from server.catalogue.catalogue import Catalogue, tend_for_ever
from server.catalogue.for_others import PULL_S, TELL_S, tell_for_ever
from server.intake.admission import Admission
from server.intake.scrub import Scrub, scrub_for_ever
from server.jobs.checkups import Checkups
from server.jobs.retention import Retention
from server.jobs.retention_sweep import (
    catalogue_forgetter,
    sweep_for_ever,
    tell_denied_requests_for_ever,
    teller,
    upload_forgetter,
)
from server.jobs.webhook_dispatch import WebhookDispatch
from server.routes import (
    batches,
    corrections,
    events,
    jobs,
    models,
    page,
    products,
    results,
    roi,
    slides,
    tenant,
    uploads,
)
from server.routes import (
    imports as import_routes,
)
from server.routes.deps import State
from server.routes.operators import admin, health, system
from server.routes.uploads import MethodOverride, is_streamed
from server.routes.viewers import deepzoom, job_layers, live, objects, qupath
from server.telemetry.looks import Looks
from server.uploads.imports import slide_imports
from server.uploads.oneshot import Intake
from server.uploads.service import resumable_uploads
from server.uploads.store import UploadStore
from server.viewing.fast_path import FastPath
from server.viewing.service import Viewing
from server.web.bodies import BodyCap
from server.web.declared import Declared
from server.web.deprecation import Deprecations
from server.web.document import document
from server.web.errors import add_error_handlers, error_responses
from server.web.head import HeadLikeGet
from server.web.root_path import root_path_of
from server.web.sse import Listeners
from workers.core.queue.jobs import Jobs
from workers.core.settings import Settings
from workers.core.storage.opening import open_storage
from workers.core.store import Store
from workers.core.stored.slides import withdraw_incoming

DESCRIPTION = """Whole-slide-image segmentation with L-Diffusion.

Upload a slide, submit a job, follow it, fetch its results. Every error has one shape:
problem details (RFC 9457) with `{"error": {"code", "message", "value", "accepted"}}` beside them. Research use only."""

TAGS = [
    {"name": "slides", "description": "Whole-slide images: streamed in, probed before they are accepted."},
    {"name": "uploads", "description": "Resumable uploads of slides: the tus protocol 1.0.0."},
    {"name": "jobs", "description": "Segmentation of one slide by one model."},
    {"name": "results", "description": "Files of a succeeded job. They never change: cache them by their ETag."},
    {"name": "corrections", "description": "What people say of the objects of a job; results are never altered."},
    {"name": "viewing", "description": "Deep Zoom tiles and thumbnails, for viewers in a browser."},
    {"name": "access", "description": "Signed links, for what cannot send a key; what a tenant has."},
    {"name": "admin", "description": "What concerns the whole server; the key needs the scope `admin` besides."},
    {"name": "models", "description": "The installed models."},
    {"name": "system", "description": "The server as a whole: how busy it is, and its metrics."},
    {"name": "health", "description": "For supervisors and load balancers."},
]

ROOMS = (
    slides,
    uploads,
    import_routes,
    deepzoom,
    live,
    job_layers,
    objects,
    events,
    jobs,
    batches,
    roi,
    corrections,
    products,
    qupath,
    results,
    tenant,
    admin,
    system,
    models,
    health,
    page,
)
"""In the order in which their routes are tried."""


def create_app(settings: Settings) -> FastAPI:
    """Return the gateway for these settings; the data folder and the queue are opened when it starts.

    Raises:
        RequestInvalid: The path prefix of the settings is none.
    """
    root_path = root_path_of(settings)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[State]:
        store = Store(settings.data_dir, open_storage(settings), settings.slide_cache)
        access = open_access(settings)
        withdraw_incoming(store)
        store.sweep_incoming()
        queue = Jobs(settings.redis_url, settings)
        catalogue = Catalogue(queue)
        listeners = Listeners(queue, settings.redis_url)
        dispatch = WebhookDispatch(queue, partial(jobs.with_results, root_path))
        dispatch.start()
        viewing = Viewing(store, settings)
        viewing.start()
        try:
            upload_store = UploadStore(store.root / "uploads", settings)
            quotas = Quotas(queue, upload_store.list_uploads, catalogue)
            admission = Admission(store, settings, quotas)
            forgetters = viewing.forget, upload_forgetter(upload_store), catalogue_forgetter(catalogue)
            retention = Retention(queue, teller(access.audit, *forgetters))
            async with (
                resumable_uploads(upload_store, store, settings, admission, quotas) as resumable,
                slide_imports(resumable, settings) as imports,
                meanwhile(sweep_for_ever(retention)),
                meanwhile(tell_denied_requests_for_ever(access)),
                meanwhile(tend_for_ever(catalogue)),
                meanwhile(tell_for_ever(catalogue, catalogue.pull, PULL_S)),
                meanwhile(tell_for_ever(catalogue, quotas.tell_pending, TELL_S)),
                meanwhile(scrub_for_ever(Scrub(store, settings, access.audit))),
            ):
                yield {
                    "settings": settings,
                    "access": access,
                    "store": store,
                    "jobs": queue,
                    "catalogue": catalogue,
                    "quotas": quotas,
                    "retention": retention,
                    "checkups": Checkups(queue),
                    "intake": Intake(store, settings, admission),
                    "resumable": resumable,
                    "imports": imports,
                    "listeners": listeners,
                    "viewing": viewing,
                    "looks": Looks(queue, viewing),
                }
        finally:
            await listeners.close()
            await to_thread.run_sync(dispatch.stop)
            viewing.close()
            catalogue.close()
            queue.redis.close()

    app = FastAPI(
        title="L-Diffusion Server",
        description=DESCRIPTION,
        version=installed_version(),
        openapi_tags=TAGS,
        lifespan=lifespan,
        openapi_url=None,  # `server.routes.page` has them
        docs_url=None,
        redoc_url=None,
        responses=error_responses(401, 403, 422, 429, 500),
        generate_unique_id_function=lambda route: route.name,
    )
    for routes in ROOMS:
        app.include_router(routes.router)
    app.add_middleware(Declared, everywhere=FIELDS, probes=health.PROBES)
    app.add_middleware(BodyCap, is_streamed=is_streamed)
    app.add_middleware(MethodOverride)  # before the cap: it says what is an upload
    app.add_middleware(FastPath)
    app.add_middleware(Deprecations)
    app.add_middleware(HeadLikeGet)  # before all that looks for GET
    add_error_handlers(app)
    document(app, health.PROBES)
    return app


@asynccontextmanager
async def meanwhile(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Let something go on in the background until the context ends."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def installed_version() -> str:
    """Return the version of the installed distribution, or `0` in a checkout that is not installed."""
    try:
        return version("ldiffusion-server")
    except PackageNotFoundError:
        return "0"


def routes_of_rooms() -> list[BaseRoute]:
    """Return all routes, by whose templates requests are counted."""
    return [route for routes in ROOMS for route in routes.router.routes]
