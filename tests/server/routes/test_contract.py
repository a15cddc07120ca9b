"""The OpenAPI document against the server that gives it: every operation is asked in ways that the document allows.

`LDIFFUSION_CONTRACT_EXAMPLES` says how many times each; the few of CI are the same each time.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import hypothesis
import pytest
import redis
import requests
import schemathesis
from fiducials import Finished
from gateway_fixtures import running_gateway
from schemathesis import checks

from server.access.keys import Keys
from server.app import create_app
from workers.core.settings import Settings

EXAMPLES = int(os.environ.get("LDIFFUSION_CONTRACT_EXAMPLES", "4"))
TUS = {"Tus-Resumable": "1.0.0"}
METHODS = ("get", "put", "post", "delete", "options", "head", "patch")
OPERATIONS = sorted(
    f"{method.upper()} {path}"
    for path, methods in create_app(Settings()).openapi()["paths"].items()
    for method in methods
    if method in METHODS
)
SETTINGS = hypothesis.settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)


@schemathesis.serializer("application/offset+octet-stream")
def chunk(_context: Any, value: Any) -> Any:
    """A chunk of an upload is bytes as they are."""
    return value if isinstance(value, bytes) else str(value).encode()


@dataclass(frozen=True)
class World:
    """A gateway that wants a key, with one of each thing, and its document."""

    schema: Any
    session: requests.Session
    ids: dict[str, str]

    def answer(self, case: Any, *, is_real: bool) -> requests.Response:
        """Ask for what is there, or as the example has it; say what breaks the document."""
        if is_real:
            self.make_real(case)
        answer: requests.Response = case.call(session=self.session)
        # What the document cannot say, a slide must be one and an id be known, is refused with its declared error.
        case.validate_response(answer, excluded_checks=[checks.positive_data_acceptance])
        return answer

    def make_real(self, case: Any) -> None:
        """Put ids of what is there into a request, and the headers that a protocol wants."""
        case.path_parameters = self.known(case.path_parameters)
        if isinstance(case.body, dict):
            case.body = self.known(case.body)
        if case.operation.path.startswith("/v1/uploads"):
            case.headers.update(TUS | {"Upload-Length": "10", "Upload-Offset": "0"})

    def known(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {name: self.ids.get(name, value) for name, value in fields.items()}


@pytest.fixture(scope="module")
def world(plain: Finished, gateway_queue: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with redis.Redis.from_url(gateway_queue) as connection:
        connection.flushall()
    folder = tmp_path_factory.mktemp("contract")
    shutil.copytree(plain.store.root, folder / "data", ignore=shutil.ignore_patterns("products"))
    models_dir = plain.store.root.parent / "models"
    settings = Settings(data_dir=folder / "data", models_dir=models_dir, redis_url=gateway_queue, disk_reserve_bytes=0)
    _, key = Keys(settings.data_dir).create("made", "local", ("read", "submit"))
    with running_gateway(settings) as url, requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {key}"
        schema = schemathesis.openapi.from_dict(session.get(f"{url}/openapi.json").json())
        schema.config.update(base_url=url)
        ids = {"slide_id": plain.info.id, "job_id": plain.job_id, "name": "made-model"}
        content = plain.store.slide_file(plain.info.id).read_bytes()
        slide_id = session.put(f"{url}/v1/slides?filename=plain.tif", data=content).json()["id"]
        batch = session.post(f"{url}/v1/batches", json={"slide_ids": [slide_id], "model": "made-model"})
        upload = session.post(f"{url}/v1/uploads", headers=TUS | {"Upload-Length": "10"})
        ids |= {"batch_id": batch.json()["id"], "upload_id": upload.headers["location"].rpartition("/")[2]}
        yield World(schema, session, ids)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_answers_are_those_of_the_document(world: World, operation: str) -> None:
    method, path = operation.split(" ")
    declared = world.schema[path][method]
    asked: list[int] = []

    @SETTINGS
    @hypothesis.given(case=declared.as_strategy())
    def ask(case: Any) -> None:
        asked.append(world.answer(case, is_real=False).status_code)
        if method != "DELETE":  # nothing that later questions are about goes away
            asked.append(world.answer(case, is_real=True).status_code)

    ask()
    assert asked


def test_the_document_names_errors_by_one_schema() -> None:
    document = create_app(Settings()).openapi()
    answers = [
        (operation["operationId"], status, answer)
        for methods in document["paths"].values()
        for operation in methods.values()
        for status, answer in operation["responses"].items()
        if int(status) >= 400
    ]
    assert len(answers) > 100
    one = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}}
    assert [(name, status) for name, status, answer in answers if answer.get("content") != one] == []
