"""The client's views against the server's own description of itself: the two cannot drift apart."""

from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from ldiffusion_client import (
    correction_views,
    jobs,
    names,
    products,
    protocol,
    records,
    sets,
    system_views,
    uploads,
    views,
)
from server.app import create_app
from server.uploads import tus
from workers.core import products as server_products
from workers.core import quality_schemas, schemas
from workers.core.errors.base import LDiffusionError, UploadIncomplete
from workers.core.queue import events
from workers.core.settings import Settings
from workers.core.slides import mirax
from workers.core.slides.names import FILENAME_MAX, display_name

Schema = dict[str, Any]
OPENAPI: Schema = create_app(Settings()).openapi()
NOT_IN_THE_DOCUMENT: dict[str, type[BaseModel]] = {
    "Progress": events.Progress,
    "Provenance": schemas.Provenance,
    "BadTile": schemas.BadTile,
    "Quality": quality_schemas.Quality,
    "QualityArea": quality_schemas.QualityArea,
}
VIEWS = {
    name: each
    for name, each in (vars(views) | vars(records) | vars(correction_views) | vars(system_views)).items()
    if isinstance(each, type) and issubclass(each, views.View) and each not in (views.View, views.Page)
}


def server_schema(name: str) -> tuple[Schema, Schema]:
    """Return the schema of what the server sends, and where its references lead."""
    if name in NOT_IN_THE_DOCUMENT:
        schema = NOT_IN_THE_DOCUMENT[name].model_json_schema(mode="serialization")
        return schema, schema.get("$defs", {})
    schemas_of_all: Schema = OPENAPI["components"]["schemas"]
    return schemas_of_all[name], schemas_of_all


def takes(client: Schema, server: Schema, ours: Schema, theirs: Schema) -> bool:
    """Whether a client that says `client` of a value takes, and knows, all that a server says `server` of."""
    client, server = (
        defs[each["$ref"].rpartition("/")[2]] if "$ref" in each else each
        for each, defs in ((client, ours), (server, theirs))
    )
    for union in ("anyOf", "oneOf"):
        if union in server:
            return all(takes(client, each, ours, theirs) for each in server[union])
    if "anyOf" in client:
        return any(takes(each, server, ours, theirs) for each in client["anyOf"])
    if server["type"] != client["type"] and (server["type"], client["type"]) != ("integer", "number"):
        return False
    if server.get("format") != client.get("format") or client.get("enum", server.get("enum")) != server.get("enum"):
        return False  # words that the client knows are the server's; where it knows none, any text will do
    if client["type"] == "array":
        return all(
            takes(mine, yours, ours, theirs)
            for word in ("prefixItems", "items")
            for mine, yours in zip(parts(client, word), parts(server, word), strict=True)
        )
    return client["type"] != "object" or takes_object(client, server, ours, theirs)


def parts(schema: Schema, word: str) -> list[Schema]:
    found = schema.get(word, [])
    return found if isinstance(found, list) else [found]


def takes_object(client: Schema, server: Schema, ours: Schema, theirs: Schema) -> bool:
    if "properties" in client:
        fields = client["properties"].items()
        return all(
            name in server.get("properties", {}) and takes(each, server["properties"][name], ours, theirs)
            for name, each in fields
        )
    values, sent = client["additionalProperties"], server.get("additionalProperties", False)
    return values is True or (isinstance(sent, dict) and takes(values, sent, ours, theirs))


def unknown_to_the_server(view: type[views.View], name: str) -> list[str]:
    """Return the fields of a view that the server does not send as the view says."""
    client, (server, theirs) = view.model_json_schema(), server_schema(name)
    return [
        field
        for field, schema in client["properties"].items()
        if field not in server["properties"]
        or not takes(schema, server["properties"][field], client.get("$defs", {}), theirs)
    ]


@pytest.mark.parametrize("name", VIEWS)
def test_the_server_sends_every_field_that_the_client_knows_as_it_knows_it(name: str) -> None:
    assert unknown_to_the_server(VIEWS[name], name) == []


class Drifted(views.View):
    """A job as no server sends it."""

    id: int
    state: views.Priority
    regions_done: float
    eta_s: float
    created_at: str
    error: views.Link | None
    request: views.JobRequest
    results: dict[str, int]
    phase: views.Priority | None
    gone: str | None = None


def test_a_view_that_drifted_is_found() -> None:
    drifted = ["id", "state", "eta_s", "created_at", "error", "results", "phase", "gone"]
    assert unknown_to_the_server(Drifted, "JobView") == drifted


def test_what_can_be_asked_of_a_job_and_its_words_are_the_servers() -> None:
    assert get_type_hints(jobs.JobOptions).keys() == schemas.JobOptions.model_fields.keys()
    for word in ("JobState", "Priority", "OnBadTile", "OutputName"):
        assert get_args(getattr(views, word)) == get_args(getattr(schemas, word))
    assert get_args(views.QualityName) == quality_schemas.QUALITY_NAMES
    assert views.FINAL_STATES == schemas.FINAL_STATES
    filters = {parameter["name"] for parameter in OPENAPI["paths"][jobs.JOBS]["get"]["parameters"]}
    assert get_type_hints(jobs.JobFilter).keys() - {"labels"} | {"label"} <= filters
    asked = get_type_hints(jobs.JobSubmission).keys() | {"slide_id"}
    assert asked == schemas.JobSubmission.model_fields.keys()


def test_the_protocol_of_uploads_is_the_servers() -> None:
    spoken = (uploads.TUS["Tus-Resumable"], uploads.CHUNK_TYPE, uploads.UPLOADS)
    assert spoken == (tus.VERSION, tus.CHUNK_TYPE, tus.PREFIX)
    assert UploadIncomplete.code == uploads.BROKEN
    assert (sets.MIRAX, names.FILENAME_MAX) == (mirax.EXTENSION, FILENAME_MAX)
    assert server_products.FOLDERS == products.FOLDERS


def test_codes_that_last_are_codes_of_the_server() -> None:
    kinds, codes = [LDiffusionError], set[str]()
    for kind in kinds:  # grows while it is walked
        codes.add(kind.code)
        kinds += kind.__subclasses__()
    assert codes >= protocol.LASTING


@given(st.text(st.characters(codec="utf-8")) | st.from_regex(r"\A[ab/\\.é\x00\x7f ]{0,12}(\.[a-z]{1,30})?\Z"))
def test_a_slide_has_the_name_that_the_server_gives_it(name: str) -> None:
    for long in (name, name * 40, f"{'n' * 190}{name}"):
        assert names.display_name(long) == display_name(long)
