"""What a route may ask for, as annotated types."""

from typing import Annotated, TypedDict, cast

from fastapi import Depends, Request

from server.uploads import Intake
from workers.core.jobs import Jobs
from workers.core.settings import Settings
from workers.core.store import Store


class State(TypedDict):
    """What the application opens when it starts and every request sees."""

    settings: Settings
    store: Store
    jobs: Jobs
    intake: Intake


async def get_settings(request: Request) -> Settings:
    """Settings the application was made with."""
    return cast("Settings", request.state.settings)


async def get_store(request: Request) -> Store:
    """The data folder."""
    return cast("Store", request.state.store)


async def get_jobs(request: Request) -> Jobs:
    """The queue."""
    return cast("Jobs", request.state.jobs)


async def get_intake(request: Request) -> Intake:
    """The receiver of uploads."""
    return cast("Intake", request.state.intake)


SettingsDep = Annotated[Settings, Depends(get_settings)]
StoreDep = Annotated[Store, Depends(get_store)]
JobsDep = Annotated[Jobs, Depends(get_jobs)]
IntakeDep = Annotated[Intake, Depends(get_intake)]
