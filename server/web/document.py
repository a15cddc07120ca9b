"""What the OpenAPI document says beyond what the routes say one by one, so that it is true of every answer."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from server.web.errors import PROBLEM

Operation = dict[str, Any]


def document(app: FastAPI) -> None:
    """Have an application describe itself so: made once, when it is first asked for."""
    plain = app.openapi

    def completed() -> dict[str, Any]:
        if app.openapi_schema is None:
            for _, _, operation in operations_of(plain()):
                _declare_problems(operation)
        return plain()

    app.openapi = completed  # type: ignore[method-assign] # as the framework has it


def operations_of(described: dict[str, Any]) -> Iterator[tuple[str, str, Operation]]:
    """Yield method, path and description of every operation of a document."""
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _declare_problems(operation: Operation) -> None:
    for status, answer in operation["responses"].items():
        if int(status) >= 400:
            answer["content"] = {PROBLEM: next(iter(answer["content"].values()))}
