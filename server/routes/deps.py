"""What a route may ask for, as annotated types."""

from functools import partial
from typing import Annotated, TypedDict, cast

from fastapi import Depends, Request

from server.access.gate import Access
from server.access.guards import CallerDep
from server.access.quotas import Quotas
from server.catalogue.catalogue import Catalogue
from server.jobs.checkups import Checkups
from server.jobs.retention import Retention
from server.results.product_answers import Ask
from server.telemetry.looks import Looks
from server.uploads.imports import Imports
from server.uploads.oneshot import Intake
from server.uploads.service import Resumable
from server.viewing.service import Viewing
from server.web.sse import Listeners
from workers.core.queue.jobs import Jobs
from workers.core.settings import Settings
from workers.core.store import Store


class State(TypedDict):
    """What the application opens when it starts and every request sees."""

    settings: Settings
    access: Access
    store: Store
    jobs: Jobs
    catalogue: Catalogue
    quotas: Quotas
    retention: Retention
    checkups: Checkups
    intake: Intake
    viewing: Viewing
    resumable: Resumable
    imports: Imports
    listeners: Listeners
    looks: Looks


async def get_settings(request: Request) -> Settings:
    """Settings the application was made with."""
    return cast("Settings", request.state.settings)


async def get_store(request: Request) -> Store:
    """The data folder."""
    return cast("Store", request.state.store)


async def get_jobs(request: Request) -> Jobs:
    """The queue."""
    return cast("Jobs", request.state.jobs)


async def get_catalogue(request: Request) -> Catalogue:
    """The index of what is stored."""
    return cast("Catalogue", request.state.catalogue)


async def get_intake(request: Request) -> Intake:
    """The receiver of uploads."""
    return cast("Intake", request.state.intake)


async def get_resumable(request: Request) -> Resumable:
    """The receiver of resumable uploads."""
    return cast("Resumable", request.state.resumable)


async def get_imports(request: Request) -> Imports:
    """The fetcher of slides."""
    return cast("Imports", request.state.imports)


async def get_listeners(request: Request) -> Listeners:
    """Those who follow jobs by events."""
    return cast("Listeners", request.state.listeners)


async def get_quotas(request: Request) -> Quotas:
    """What tenants may still have."""
    return cast("Quotas", request.state.quotas)


async def get_retention(request: Request) -> Retention:
    """The remover of slides and jobs."""
    return cast("Retention", request.state.retention)


async def get_checkups(request: Request) -> Checkups:
    """The looker at the store."""
    return cast("Checkups", request.state.checkups)


async def get_viewing(request: Request) -> Viewing:
    """The maker of pictures for viewers."""
    return cast("Viewing", request.state.viewing)


async def get_looks(request: Request) -> Looks:
    """The looker at queue and disk."""
    return cast("Looks", request.state.looks)


async def get_root_path(request: Request) -> str:
    """The prefix that links in the answer begin with; see `server.web.root_path`."""
    return str(request.scope.get("root_path", ""))


SettingsDep = Annotated[Settings, Depends(get_settings)]
StoreDep = Annotated[Store, Depends(get_store)]
JobsDep = Annotated[Jobs, Depends(get_jobs)]
CatalogueDep = Annotated[Catalogue, Depends(get_catalogue)]
QuotasDep = Annotated[Quotas, Depends(get_quotas)]
RetentionDep = Annotated[Retention, Depends(get_retention)]
CheckupsDep = Annotated[Checkups, Depends(get_checkups)]
IntakeDep = Annotated[Intake, Depends(get_intake)]
ResumableDep = Annotated[Resumable, Depends(get_resumable)]
ImportsDep = Annotated[Imports, Depends(get_imports)]
ListenersDep = Annotated[Listeners, Depends(get_listeners)]
ViewingDep = Annotated[Viewing, Depends(get_viewing)]
LooksDep = Annotated[Looks, Depends(get_looks)]
RootPathDep = Annotated[str, Depends(get_root_path)]


def get_ask(quotas: QuotasDep, caller: CallerDep) -> Ask:
    """What the caller asks for products by: refused where its tenant has no room."""
    return partial(quotas.ask_product, caller.tenant)


AskDep = Annotated[Ask, Depends(get_ask)]
