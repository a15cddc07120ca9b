"""What the OpenAPI document says of every answer, so that no route has to: errors at the door, security, headers."""

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from fastapi import FastAPI

from server.web.errors import PROBLEM, ErrorAnswer, error_responses

Operation = dict[str, Any]
DESCRIBED_MAX = 8
"""Prefixes for which the document is kept as bytes; a trusted proxy may name others."""

HEADERS = {
    "X-Request-Id": "Name of the request: as it was given, if that is a short plain word, else a new one.",
    "RateLimit-Policy": "How many requests a key or the links of a tenant may make, in how many seconds.",
    "RateLimit": "How many of them are left, and in how many seconds there are more.",
    "Retry-After": "Seconds after which to ask again.",
    "WWW-Authenticate": "What is missing: a key, or a scope of it.",
    "ETag": "Version of the content, for If-None-Match.",
    "Cache-Control": "How long it may be kept.",
    "Content-Range": "Which bytes these are, of how many; of a refused range, how many there are.",
    "Location": "Path of what was made.",
    "Deprecation": "Since when this is deprecated (RFC 9745).",
    "Sunset": "When this goes (RFC 8594).",
    "Link": "Where more is said of the deprecation.",
    "Tus-Resumable": "Version of the protocol of uploads.",
    "Tus-Version": "Versions of the protocol that are spoken.",
    "Tus-Extension": "Extensions of the protocol that are spoken.",
    "Tus-Max-Size": "Most bytes of an upload.",
    "Tus-Checksum-Algorithm": "Algorithms of Upload-Checksum.",
    "Upload-Offset": "Where the next chunk begins.",
    "Upload-Length": "Bytes of the whole upload.",
    "Upload-Expires": "When the upload is removed if no byte comes.",
    "Upload-Metadata": "As it came.",
    "Upload-Concat": "`partial`, or `final;` and the addresses of its parts.",
}
"""Headers of answers that mean something to a client. `told` puts them into what a route declares."""

ALWAYS = ("X-Request-Id", "ETag", "Location")
"""Those that are there wherever they are declared. A refusal at the gate knows no protocol of uploads, for example."""

AT_THE_DOOR = (400, 408, 431, 503)
OF_BODIES = (413, 415)
LINK = {
    "type": "apiKey",
    "in": "query",
    "name": "signature",
    "description": "A signed link: its whole query, as `POST /v1/links` gives it. For GET and HEAD.",
}
KEYS: list[dict[str, list[str]]] = [{"key": []}, {"key_header": []}]


def told(*names: str) -> dict[str, Any]:
    """Return what a route declares of an answer with these headers."""
    return {"headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names}}


def document(app: FastAPI, probes: frozenset[str]) -> None:
    """Have an application describe itself so: made once, when it is first asked for.

    Args:
        app: The application.
        probes: Paths that need no key, and count nothing.
    """
    plain = app.openapi

    def completed() -> dict[str, Any]:
        if app.openapi_schema is None:
            described = plain()
            components = described["components"]
            components["headers"] = {name: _header(name, text) for name, text in HEADERS.items()}
            components["securitySchemes"]["link"] = LINK
            for method, path, operation in operations_of(described):
                _declare(operation, method, is_probe=path in probes)
        return plain()

    app.openapi = completed  # type: ignore[method-assign] # as the framework has it


@lru_cache(DESCRIBED_MAX)
def described(app: FastAPI, root_path: str) -> bytes:
    """Return the document of an application below a prefix, as JSON."""
    servers = {"servers": [{"url": root_path}]} if root_path else {}
    return json.dumps(app.openapi() | servers, ensure_ascii=False, separators=(",", ":")).encode()


def operations_of(described: dict[str, Any]) -> Iterator[tuple[str, str, Operation]]:
    """Yield method, path and description of every operation of a document."""
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _header(name: str, text: str) -> dict[str, Any]:
    return {"description": text, "required": name in ALWAYS, "schema": {"type": "string"}}


def _declare(operation: Operation, method: str, *, is_probe: bool) -> None:
    answers = operation["responses"]
    content = {PROBLEM: {"schema": {"$ref": f"#/components/schemas/{ErrorAnswer.__name__}"}}}
    for status, answer in error_responses(*AT_THE_DOOR, *(OF_BODIES if "requestBody" in operation else ())).items():
        answers.setdefault(str(status), {"description": answer["description"], "content": content})
    if is_probe:
        operation["security"] = []
        for status in ("401", "429"):
            del answers[status]
    else:
        operation["security"] = [*KEYS, *([{"link": []}] if method in ("GET", "HEAD") else [])]
    is_tus = any(each["name"].lower() == "tus-resumable" for each in operation.get("parameters", ()))
    if "206" in answers:
        answers["206"]["content"] = answers["200"]["content"]
    for status, answer in answers.items():
        names = _names(status, answers, method) + ([] if is_probe else ["RateLimit", "RateLimit-Policy"])
        names += ["Deprecation", "Sunset", "Link"] if _is_deprecated(operation) else []
        if int(status) >= 400:
            answer["content"] = {PROBLEM: next(iter(answer["content"].values()))}
            names += ["Tus-Resumable", "Tus-Version"] if is_tus else []
        answer["headers"] = answer.get("headers", {}) | told("X-Request-Id", *names)["headers"]
    operation["responses"] = dict(sorted(answers.items()))


def _is_deprecated(operation: Operation) -> bool:
    return any(each.get("deprecated", False) for each in (operation, *operation.get("parameters", ())))


def _names(status: str, answers: dict[str, Any], method: str) -> list[str]:
    """Return the headers that an answer of this status has, given the others."""
    by_status = {
        "202": ["Retry-After", "Cache-Control"] if method == "GET" else [],
        "206": ["Content-Range"],
        "401": ["WWW-Authenticate"],
        "403": ["WWW-Authenticate"],
        "416": ["Content-Range"],
        "429": ["Retry-After"],
        "503": ["Retry-After"],
    }
    kept = ["ETag", "Cache-Control"] if "304" in answers and status in ("200", "206", "304") else []
    return by_status.get(status, []) + kept
