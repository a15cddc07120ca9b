"""Whoever takes a slide away tile by tile is on record: one line for each key, slide and hour."""

from pathlib import Path

import pytest
from access_fixtures import key_of, log_of
from asgi_call import bearer, call
from fastapi import FastAPI
from starlette.types import ASGIApp

from server.access.gate import Access, open_access
from server.access.guards import CallerDep
from server.access.keys import Keys
from server.access.principals import LOCAL
from server.access.protection import protect
from server.access.views import HOUR_S, Views, viewed_by
from workers.core.settings import Settings

ONE, TWO = "1" * 32, "2" * 32
TILE = "slide_files/3/1_2.jpeg"


async def picture(caller: CallerDep) -> str:
    return caller.tenant


def gallery(folder: Path) -> tuple[ASGIApp, Access]:
    settings = Settings(data_dir=folder)
    app = FastAPI()
    for path in ("/v1/slides/{i}/slide_files/{z}/{t}", "/v1/jobs/{i}/overlay_files/{z}/{t}"):
        app.get(path)(picture)
    app.get("/v1/slides/{i}/thumbnail.jpeg")(picture)
    app.get("/v1/slides/{i}/slide.dzi")(picture)
    return protect(app, settings), open_access(settings)


def test_a_slide_that_is_read_tile_by_tile_has_one_line_for_each_key(tmp_path: Path) -> None:
    app, access = gallery(tmp_path)
    key, token = Keys(tmp_path).create("one", "lab-a", ("read",))
    other = key_of(tmp_path)
    for level in range(4):
        for url in (f"/v1/slides/{ONE}/slide_files/{level}/0_0.jpeg", f"/v1/slides/{ONE}/thumbnail.jpeg"):
            assert call(app, "GET", url, bearer(token), access=access).status == 200
    (line,) = log_of(access)
    assert (line["action"], line["key_id"], line["tenant"]) == ("viewed", key.id, "lab-a")
    assert (line["path"], line["status"], line["by"]) == (f"/v1/slides/{ONE}", 200, "key")
    call(app, "GET", f"/v1/slides/{ONE}/{TILE}", bearer(other), access=access)
    call(app, "GET", f"/v1/slides/{TWO}/{TILE}", bearer(token), access=access)
    call(app, "GET", f"/v1/jobs/{ONE}/overlay_files/0/0_0.png", bearer(token), access=access)
    assert [line["action"] for line in log_of(access)] == ["viewed"] * 4
    assert access.audit.verify().lines == 4


def test_what_shows_nothing_is_no_look(tmp_path: Path) -> None:
    app, access = gallery(tmp_path)
    token = key_of(tmp_path)
    call(app, "GET", f"/v1/slides/{ONE}/slide.dzi", bearer(token), access=access)
    call(app, "GET", f"/v1/slides/short/{TILE}", bearer(token), access=access)
    assert log_of(access) == []


@pytest.mark.parametrize(("status", "is_seen"), [(200, True), (304, True), (404, False), (429, False), (None, False)])
def test_a_picture_is_seen_when_it_is_answered(status: int | None, is_seen: bool) -> None:
    found = viewed_by(LOCAL, "GET", f"/v1/slides/{ONE}/{TILE}", status)
    assert (found is not None) is is_seen


def test_each_hour_has_its_line_and_few_are_remembered() -> None:
    views = Views(most=2)
    name, other, third = ("key", "a", "x"), ("key", "b", "x"), ("key", "a", "y")
    assert [views.is_first(name, now) for now in (0.0, 1.0, HOUR_S - 1, HOUR_S, HOUR_S + 1)] == [
        True,
        False,
        False,
        True,
        False,
    ]
    assert views.is_first(other, HOUR_S)
    assert views.is_first(third, HOUR_S)  # the oldest is forgotten
    assert views.is_first(name, HOUR_S)
