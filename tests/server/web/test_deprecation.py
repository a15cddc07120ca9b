"""What is deprecated says so, on routes that were made up for it; what is shipped is held to the changelog."""

from datetime import date
from pathlib import Path
from typing import Annotated, Any

from asgi_call import call
from fastapi import APIRouter, FastAPI, Query

from server.app import create_app
from server.web.deprecation import SINCE, deprecated_parameter, deprecated_route
from workers.core.errors.base import JobNotFound
from workers.core.settings import Settings

SINCE_DAY, SUNSET_DAY = date(2026, 1, 1), date(2026, 7, 1)
HEADERS = {
    "deprecation": "@1767225600",
    "sunset": "Wed, 01 Jul 2026 00:00:00 GMT",
    "link": '</docs>; rel="deprecation"; type="text/html"',
}


def made_up() -> FastAPI:
    """The application, with routes that it does not have."""
    router = APIRouter()

    @router.get("/v1/old/{name}", **deprecated_route(SINCE_DAY, SUNSET_DAY))
    async def get_old(name: str) -> str:
        if name == "none":
            raise JobNotFound("No job has this id.")
        return name

    @router.get("/v1/new")
    async def get_new(size: Annotated[int, Query(**deprecated_parameter(SINCE_DAY))] = 0, width: int = 0) -> int:
        return size or width

    app = create_app(Settings())
    app.include_router(router)
    return app


def told(app: FastAPI, method: str, url: str) -> dict[str, str]:
    answer = call(app, method, url)
    return {name: value for name, value in answer.headers.items() if name in HEADERS}


def test_every_answer_of_a_deprecated_route_says_so_and_of_no_other() -> None:
    app = made_up()
    for method in ("GET", "HEAD"):
        for url in ("/v1/old/a", "/v1/old/none", "/v1/old/a?unknown=1"):
            assert told(app, method, url) == HEADERS, (method, url)
    for url in ("/v1/new", "/healthz", "/v1/old"):
        assert told(app, "GET", url) == {}
    assert told(app, "POST", "/v1/old/a") == {}


def test_who_sends_a_deprecated_parameter_is_told() -> None:
    app = made_up()
    assert told(app, "GET", "/v1/new?width=1") == {}
    without = {name: value for name, value in HEADERS.items() if name != "sunset"}  # the day is not known
    assert told(app, "GET", "/v1/new?width=1&size=2") == without
    assert told(app, "GET", "/v1/new?size=") == without


def test_the_document_says_so_too() -> None:
    paths = made_up().openapi()["paths"]
    old, new = paths["/v1/old/{name}"]["get"], paths["/v1/new"]["get"]
    assert (old["deprecated"], old[SINCE], old["x-sunset"]) == (True, "2026-01-01", "2026-07-01")
    for answer in (old["responses"]["200"], old["responses"]["500"]):
        assert {"Deprecation", "Sunset", "Link"} <= set(answer["headers"])
    size, width = new["parameters"]
    assert (size["deprecated"], size["schema"][SINCE], "deprecated" in width) == (True, "2026-01-01", False)
    assert "Deprecation" in new["responses"]["200"]["headers"]


def deprecated_of(document: dict[str, Any]) -> list[str]:
    """Addresses of what is deprecated, and names of parameters and fields."""
    found = []
    for path, methods in document["paths"].items():
        for operation in methods.values():
            found += [path] if operation.get("deprecated") else []
            found += [each["name"] for each in operation.get("parameters", ()) if each.get("deprecated")]
    for schema in document["components"]["schemas"].values():
        found += [name for name, each in schema.get("properties", {}).items() if each.get("deprecated")]
    return found


def test_what_is_shipped_as_deprecated_is_in_the_changelog_and_on_its_page(repo_root: Path) -> None:
    changelog = (repo_root / "CHANGELOG.md").read_text()
    listed = (repo_root / "docs" / "api-stability.md").read_text().partition("## What is deprecated now")[2]
    shipped = deprecated_of(create_app(Settings()).openapi())
    assert len(deprecated_of(made_up().openapi())) == 2 + len(shipped)
    for name in shipped:
        assert f"`{name}`" in listed
        assert f"`{name}`" in "".join(part.partition("\n### ")[0] for part in changelog.split("### Deprecated\n")[1:])
    assert bool(shipped) == ("Nothing." not in listed)
