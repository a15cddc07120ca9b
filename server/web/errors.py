"""Domain exception → HTTP status, and the one shape of every error, which `ErrorAnswer` declares."""

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

from server.web.lingering import LingeringJSONResponse
from server.web.request_ids import request_id
from server.web.root_path import path_of
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

HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 413: "upload_too_large"}


class ErrorAnswer(Frozen):
    """Body of every answer of 400 and above."""

    error: ErrorBody
    request_id: str | None = Field(default=None, description="Of the answer's X-Request-Id; the server's log has it.")


def status_of(kind: type[LDiffusionError]) -> int:
    """Return the HTTP status of a domain error's class."""
    return next(STATUS_CODES[branch] for branch in kind.__mro__ if branch in STATUS_CODES)


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI declaration of the errors that an endpoint answers with."""
    return {status: {"model": ErrorAnswer, "description": HTTPStatus(status).phrase} for status in statuses}


def error_body(code: str, message: str, value: object = None, accepted: str | None = None) -> dict[str, object]:
    """Return the one shape, for what is no domain error."""
    body = ErrorBody(code=code, message=message, value=None if value is None else str(value), accepted=accepted)
    return ErrorAnswer(error=body, request_id=request_id()).model_dump()


def add_error_handlers(app: FastAPI) -> None:
    """Make every error of the application leave in the one shape."""
    for kind in (LDiffusionError, RequestValidationError, HTTPException, ClientDisconnect, Exception):
        app.add_exception_handler(kind, _on_error)


def _on_error(request: Request, error: Exception) -> JSONResponse:
    answer = _answer(request, error)
    answer.headers.update(getattr(request.state, "error_headers", {}))  # what a protocol wants on every answer
    return answer


def _answer(request: Request, error: Exception) -> JSONResponse:
    match error:
        case LDiffusionError():
            return _domain_answer(request, error)
        case RequestValidationError():
            return _validation_answer(error)
        case HTTPException(__cause__=RecursionError()):
            message = "The body of this request holds values too deep within each other."
            return JSONResponse(error_body("invalid_request", message, accepted="JSON of some hundred levels"), 422)
        case HTTPException():
            return _http_answer(request, error)
        case ClientDisconnect():  # nobody reads this; it keeps who hung up out of the log of unexpected errors
            return JSONResponse(error_body("upload_incomplete", "The client went away."), 400)
        case _:  # the traceback is in the server's log, and nothing of it in the answer
            return JSONResponse(error_body("internal_error", "The server failed; its log says why."), 500)


def _domain_answer(request: Request, error: LDiffusionError) -> JSONResponse:
    return answer_of(error, body_unread=getattr(request.state, "body_unread", False))


def answer_of(error: LDiffusionError, *, body_unread: bool) -> JSONResponse:
    """Return the answer that a domain error becomes; with a body under way, one that lets the client see it."""
    kind = LingeringJSONResponse if body_unread else JSONResponse
    body = error_body(error.code, error.message, error.value, error.accepted)
    return kind(body, status_of(type(error)), _headers_of(error))


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
    return JSONResponse(error_body("invalid_request", f"{where}: {first['msg']}", given, accepted), 422)


def _http_answer(request: Request, error: HTTPException) -> JSONResponse:
    code = HTTP_CODES.get(error.status_code, "invalid_request" if error.status_code < 500 else "internal_error")
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = _allowed_methods(request)
    value = _shortened(f"{request.method} {request.url.path}")
    return JSONResponse(error_body(code, f"{error.detail}.", value, headers.get("Allow")), error.status_code, headers)


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
