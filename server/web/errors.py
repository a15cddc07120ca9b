"""Domain exception → HTTP status, and the one shape of every error, which `ErrorAnswer` declares."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from math import ceil
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import compile_path

from server.web.counting.counters import REFUSALS
from server.web.error_catalogue import titles
from server.web.lingering import LingeringJSONResponse
from server.web.request_ids import Asked, asked
from server.web.root_path import link_to, path_of
from workers.core.disk_room import storage_error
from workers.core.errors.access import Forbidden, ScopeMissing, TooMany, Unauthorized
from workers.core.errors.base import (
    BodyUnsupported,
    ChecksumMismatch,
    Conflict,
    DiskFull,
    HeaderInvalid,
    Invalid,
    LDiffusionError,
    NotFound,
    Unavailable,
    UploadEmpty,
    UploadExpired,
    UploadIncomplete,
    UploadJoined,
    UploadLocked,
    UploadTooLarge,
    VersionUnsupported,
)
from workers.core.errors.door import HeadTooLong, RequestLate, RequestMalformed
from workers.core.frozen import Frozen
from workers.core.schemas import ErrorBody
from workers.core.telemetry.logs import Private

STATUS_CODES: dict[type[LDiffusionError], int] = {
    UploadExpired: 410,
    NotFound: 404,
    UploadEmpty: 400,
    UploadIncomplete: 400,
    UploadTooLarge: 413,
    HeaderInvalid: 400,
    RequestMalformed: 400,
    RequestLate: 408,
    HeadTooLong: 431,
    VersionUnsupported: 412,
    BodyUnsupported: 415,
    ChecksumMismatch: 460,
    UploadJoined: 403,
    UploadLocked: 423,
    Invalid: 422,
    Conflict: 409,
    Unauthorized: 401,
    Forbidden: 403,
    TooMany: 429,
    DiskFull: 507,
    Unavailable: 503,
    LDiffusionError: 500,
}
"""The nearest class in an error's ancestry decides."""

logger = logging.getLogger(__name__)

HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 413: "upload_too_large"}


PROBLEM = "application/problem+json"
ERRORS_PATH = "/docs/errors"
TYPES = f"{ERRORS_PATH}#mpp_missing"


class ErrorAnswer(Frozen):
    """Body of every answer of 400 and above: problem details (RFC 9457), and the same under `error` in our words."""

    type: str = Field(description="Where the code is explained, from the address of the answer.", examples=[TYPES])
    title: str = Field(description="What the code means, the same each time.")
    status: int
    detail: str = Field(description="The sentence of `error.message`.")
    instance: str | None = Field(default=None, description="Path of the request.")
    request_id: str | None = Field(default=None, description="Of the answer's X-Request-Id; the server's log has it.")
    error: ErrorBody


def status_of(kind: type[LDiffusionError]) -> int:
    """Return the HTTP status of a domain error's class."""
    return next(STATUS_CODES[branch] for branch in kind.__mro__ if branch in STATUS_CODES)


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI declaration of the errors that an endpoint answers with."""
    return {status: {"model": ErrorAnswer, "description": HTTPStatus(status).phrase} for status in statuses}


def problem(
    status: int,
    code: str,
    message: str,
    value: object = None,
    accepted: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return an answer in the one shape, for what is no domain error."""
    return JSONResponse(_body(status, code, message, value, accepted), status, headers, PROBLEM)


def _body(status: int, code: str, message: str, value: object, accepted: str | None) -> dict[str, object]:
    request = asked() or Asked("")
    REFUSALS.labels(code).inc()
    return ErrorAnswer(
        type=link_to(request.root_path, f"{ERRORS_PATH}#{code}"),
        title=titles()[code],
        status=status,
        detail=message,
        instance=request.path,
        request_id=request.name or None,
        error=ErrorBody(code=code, message=message, value=None if value is None else str(value), accepted=accepted),
    ).model_dump()


def add_error_handlers(app: FastAPI) -> None:
    """Make every error of the application leave in the one shape."""
    for code in titles():  # from 0, as what first appears as 1 has not grown to who watches it
        REFUSALS.labels(code)
    app.add_exception_handler(OSError, _on_system_error)
    for kind in (LDiffusionError, RequestValidationError, HTTPException, ClientDisconnect, Exception):
        app.add_exception_handler(kind, _on_error)


def _on_error(request: Request, error: Exception) -> JSONResponse:
    answer = _answer(request, error)
    answer.headers.update(getattr(request.state, "error_headers", {}))  # what a protocol wants on every answer
    return answer


def _on_system_error(request: Request, error: Exception) -> JSONResponse:
    """Say that the disk fails; any other fault is ours, and its traceback belongs in the log."""
    known = storage_error(error)
    if known is None:
        raise error
    logger.error("%s %s: %s", request.method, Private(request.url.path), error)
    return _on_error(request, known)


def _answer(request: Request, error: Exception) -> JSONResponse:
    match error:
        case LDiffusionError():
            return _domain_answer(request, error)
        case RequestValidationError():
            return _validation_answer(error)
        case HTTPException(__cause__=RecursionError()):
            message = "The body of this request holds values too deep within each other."
            return problem(422, "invalid_request", message, accepted="JSON of some hundred levels")
        case HTTPException():
            return _http_answer(request, error)
        case ClientDisconnect():  # nobody reads this; it keeps who hung up out of the log of unexpected errors
            return problem(400, "upload_incomplete", "The client went away.")
        case _:  # the traceback is in the server's log, and nothing of it in the answer
            return problem(500, "internal_error", "The server failed; its log says why.")


def _domain_answer(request: Request, error: LDiffusionError) -> JSONResponse:
    return answer_of(error, body_unread=getattr(request.state, "body_unread", False))


def answer_of(error: LDiffusionError, *, body_unread: bool) -> JSONResponse:
    """Return the answer that a domain error becomes; with a body under way, one that lets the client see it."""
    kind = LingeringJSONResponse if body_unread else JSONResponse
    status = status_of(type(error))
    return kind(
        _body(status, error.code, error.message, error.value, error.accepted), status, _headers_of(error), PROBLEM
    )


def _headers_of(error: LDiffusionError) -> dict[str, str]:
    match error:
        case Unauthorized():
            return {"WWW-Authenticate": 'Bearer realm="ldiffusion"'}
        case ScopeMissing():
            return {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{error.scope}"'}
        case TooMany(retry_after_s=float(seconds)):
            return {"Retry-After": str(max(1, ceil(seconds)))}
        case Unavailable() if status_of(type(error)) == HTTPStatus.SERVICE_UNAVAILABLE:
            return {"Retry-After": "5"}
    return {}


def _validation_answer(error: RequestValidationError) -> JSONResponse:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    given = None if first["type"] == "missing" else _shortened(first.get("input"))
    accepted = "JSON" if first["type"] == "json_invalid" else str(first["msg"])
    return problem(422, "invalid_request", f"{where}: {first['msg']}", given, accepted)


def _http_answer(request: Request, error: HTTPException) -> JSONResponse:
    code = HTTP_CODES.get(error.status_code, "invalid_request" if error.status_code < 500 else "internal_error")
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = _allowed_methods(request)
    value = _shortened(f"{request.method} {request.url.path}")
    return problem(error.status_code, code, f"{error.detail}.", value, headers.get("Allow"), headers)


def _allowed_methods(request: Request) -> str:
    """All methods of a path; the router knows only those of the first route that it tried."""
    paths = request.app.openapi()["paths"]
    found = [methods for path, methods in paths.items() if compile_path(path)[0].match(path_of(request.scope))]
    allowed = {method.upper() for methods in found for method in methods}
    return ", ".join(sorted(allowed | ({"HEAD"} if "GET" in allowed else set())))


def _shortened(value: object) -> str | None:
    if value is None:
        return None
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
