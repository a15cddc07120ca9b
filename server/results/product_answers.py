"""What a request for a product is answered with: the file, or that it is being made."""

from collections.abc import Callable
from http import HTTPStatus

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from server.web.files import ImmutableFile, is_current, validators
from workers.core.products import FOLDERS, FOLLOWING, PRODUCTS, Made, Products, product_path
from workers.core.queue.jobs import Jobs

RETRY_AFTER_S = 2


def file_products() -> frozenset[str]:
    """Return the names of the products that are one file."""
    return frozenset(PRODUCTS) - FOLDERS


Ask = Callable[[str, str], Made | None]
"""Returns the record of a product of a job, by their names, or sees to it that it is made."""


def product_answer(request: Request, jobs: Jobs, ask: Ask, job_id: str, name: str) -> Response:
    """Answer with a product that is one file; one that is not made yet is begun.

    Raises:
        QuotaExceeded: It is not made yet and there is no room for it.
        JobNotFound, ResultNotReady: There is no such job, or it has not succeeded.
        ProductRefused, ProductFailed: It cannot be made, or could not lately.
        QueueUnavailable: It is not made yet and the queue does not answer.
    """
    made = ask(job_id, name)
    if made is None:
        return being_made(Products(jobs), job_id, name)
    changes = {"cache-control": "no-cache"} if name in FOLLOWING else {}
    if is_current(request.headers.get("if-none-match"), made.sha256):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=validators(made.sha256) | changes)
    headers = {"content-disposition": f'attachment; filename="{name}"'} | changes
    return ImmutableFile(product_path(jobs.store, job_id, name), made.sha256, PRODUCTS[name].media_type, headers)


def being_made(products: Products, job_id: str, name: str) -> JSONResponse:
    """Answer that a product is being made: 202, when to ask again, and its state as the body."""
    headers = {"Retry-After": str(RETRY_AFTER_S), "Cache-Control": "no-store"}
    view = products.view(job_id, name)
    return JSONResponse(view.model_dump(mode="json"), HTTPStatus.ACCEPTED, headers)
