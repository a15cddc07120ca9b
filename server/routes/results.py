"""Files of a succeeded job, with ranges and validators. They come from the store alone: the queue may be down.

Only what is made on request (see `server.routes.products`) needs the queue, and that until it is made.
"""

import hashlib
import json
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal, NamedTuple

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.responses import StreamingResponse

from server.access.guards import DOWNLOAD
from server.results.geojson import Objects, Space, changed, packed
from server.results.product_answers import Ask, being_made, file_products, product_answer
from server.results.statistics_csv import statistics_csv
from server.results.stored_answers import sent_to_storage, stored_file
from server.routes.deps import AskDep, JobsDep, SettingsDep, StoreDep
from server.routes.path_deps import OWN_JOB
from server.web.errors import error_responses
from server.web.files import ImmutableFile, accepts_gzip, inflated, is_current, validators
from workers.core.errors.base import ResultNotFound
from workers.core.products import SIMPLIFIED, Products, ProductView, product_path
from workers.core.quality_schemas import LAYER
from workers.core.queue.jobs import Jobs
from workers.core.store import Store
from workers.core.stored.results import find_result, local_result

router = APIRouter(prefix="/v1/jobs", tags=["results"])


class Result(NamedTuple):
    """What stands behind the last part of a result's address."""

    file: str
    media_type: str
    disposition: str


RESULTS = {
    "overlay.ome.tif": Result("overlay.ome.tif", "image/tiff", "attachment"),
    "labels.ome.tif": Result("labels.ome.tif", "image/tiff", "attachment"),
    "objects.parquet": Result("objects.parquet", "application/vnd.apache.parquet", "attachment"),
    "regions.geojson": Result("regions.geojson.gz", "application/geo+json", "attachment"),
    "regions.geojson.gz": Result("regions.geojson.gz", "application/gzip", "attachment"),
    "statistics": Result("statistics.json", "application/json", "inline"),
    "statistics.csv": Result("statistics.json", "text/csv", "attachment"),
    "result": Result("result.json", "application/json", "inline"),
    "preview.png": Result("preview.png", "image/png", "inline"),
    "quality.geojson": Result(LAYER, "application/geo+json", "attachment"),
    "quality.geojson.gz": Result(LAYER, "application/gzip", "attachment"),
}
REGIONS = "regions.geojson.gz"
LAYOUTS = {"ome": "overlay-ome.ome.tif", "pages": "overlay-pages.tif"}
NAMES = [*RESULTS, *file_products()]
ResultName = Annotated[
    str, Path(description="Which result.", json_schema_extra={"enum": NAMES}, examples=["overlay.ome.tif"])
]
LayoutQuery = Annotated[
    Literal["hybrid", "ome", "pages"],
    Query(description="Of `overlay.ome.tif`: where its levels are. Others than `hybrid` are made on request."),
]
SpaceQuery = Annotated[
    Space, Query(description="Of the regions: `qupath` subtracts `openslide.bounds-*`, to which QuPath crops a slide.")
]
ObjectsQuery = Annotated[
    Objects | None, Query(description="Of the regions: what QuPath takes each one for. As it was written if not given.")
]
SimplifyQuery = Annotated[
    Literal["0", "1", "2", "4"],
    Query(
        description="Of the regions: how far a border may leave the exact one, working px. Made on request but for 0."
    ),
]


class Form(NamedTuple):
    """How regions are asked for."""

    space: Space
    objects: Objects | None
    simplify: int
    """Working px; 0 is exact."""


FILE = {"schema": {"type": "string", "format": "binary"}}
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The whole file.", "content": {result.media_type: FILE for result in RESULTS.values()}},
    202: {"description": "It is being made: ask again after Retry-After.", "model": ProductView},
    307: {"description": "Where the bytes are: a signed address, good for minutes. Only if the operator wants it."},
    206: {"description": "The bytes that Range asks for."},
    304: {"description": "If-None-Match names the current version."},
    **error_responses(404, 409, 416, 422, 503),
}


@router.get("/{job_id}/{name}", response_class=Response, responses=ANSWERS, dependencies=[OWN_JOB, DOWNLOAD])
def get_result(
    job_id: str,
    name: ResultName,
    request: Request,
    store: StoreDep,
    jobs: JobsDep,
    settings: SettingsDep,
    ask: AskDep,
    layout: LayoutQuery = "hybrid",
    space: SpaceQuery = "level0",
    objects: ObjectsQuery = None,
    simplify: SimplifyQuery = "0",
) -> Response:
    """Fetch a result. The ETag is the SHA-256 that `result.json` gives for the file; ranges and HEAD work.

    Products (confidence.ome.tif, segmentation.dcm, annotations.dcm, features.fgb, other layouts of the overlay,
    simplified regions) are made when they are first asked for: that answer is 202 with Retry-After.
    """
    if name in file_products():
        return product_answer(request, jobs, ask, job_id, name)
    if name not in RESULTS:
        raise ResultNotFound("A job makes no such result.", value=name, accepted=", ".join(NAMES))
    if name == "overlay.ome.tif" and layout != "hybrid":
        return product_answer(request, jobs, ask, job_id, LAYOUTS[layout])
    result = RESULTS[name]
    if result.file in (REGIONS, LAYER):
        return _polygons(request, jobs, ask, job_id, name, Form(space, objects, int(simplify)))
    sha256 = _digest(store, job_id, result.file)
    saved_as = name if "." in name else result.file
    headers = {"content-disposition": f'{result.disposition}; filename="{saved_as}"'}
    if name == "statistics.csv":
        etag = f"{sha256}-csv"
        table = statistics_csv(json.loads(local_result(store, job_id, result.file).read_bytes()))
        return _unchanged(request, etag) or Response(table, headers=headers | validators(etag), media_type="text/csv")
    if unchanged := _unchanged(request, sha256):
        return unchanged
    return _whole(request, store, job_id, result, sha256, headers, is_sent_away=settings.storage_redirect)


def _whole(
    request: Request,
    store: Store,
    job_id: str,
    result: Result,
    sha256: str,
    headers: dict[str, str],
    *,
    is_sent_away: bool,
) -> Response:
    """Answer with a file of a job, out of the storage where the job's folder has no copy of it."""
    path = store.job_dir(job_id) / result.file
    if path.exists() or store.storage is None or (found := find_result(store, job_id, result.file)) is None:
        return ImmutableFile(path, sha256, result.media_type, headers)
    if is_sent_away and (sent := sent_to_storage(store.storage, found.key)) is not None:
        return sent
    headers["content-type"] = result.media_type
    return stored_file(request, store.storage, found.key, found.entry.size_bytes, found.entry.sha256, headers)


def _polygons(request: Request, jobs: Jobs, ask: Ask, job_id: str, name: str, form: Form) -> Response:
    """Answer with polygons, exact or simplified, as a file or as JSON, as they are or changed on their way out."""
    file = RESULTS[name].file
    if form.simplify and file == REGIONS:
        product = SIMPLIFIED[form.simplify]
        if (made := ask(job_id, product)) is None:
            return being_made(Products(jobs), job_id, product)
        path, sha256 = product_path(jobs.store, job_id, product), made.sha256
        saved_as = product.removesuffix(".gz") if name == "regions.geojson" else product
    else:
        saved_as = name
        sha256 = _digest(jobs.store, job_id, file)
        path = local_result(jobs.store, job_id, file)
    if form.space != "level0" or form.objects is not None:
        return _changed(request, path, saved_as, sha256, form)
    media_type = RESULTS[name].media_type
    headers = {"content-disposition": f'attachment; filename="{saved_as}"'}
    if name.endswith(".gz"):
        return _unchanged(request, sha256) or ImmutableFile(path, sha256, media_type, headers)
    headers["vary"] = "accept-encoding"
    if accepts_gzip(request.headers.get("accept-encoding")):  # the stored gzip is the coding of the answer
        headers["content-encoding"] = "gzip"
        return _unchanged(request, sha256) or ImmutableFile(path, sha256, media_type, headers)
    # Other bytes than the stored ones, so another strong validator.
    etag = f"{sha256}-inflated"
    return _unchanged(request, etag) or inflated(path, etag, media_type, headers)


def _changed(request: Request, path: FilePath, saved_as: str, sha256: str, form: Form) -> Response:
    """Answer with polygons in another frame or as other objects, changed on their way out."""
    is_file = saved_as.endswith(".gz")
    is_coded = not is_file and accepts_gzip(request.headers.get("accept-encoding"))
    coding = "file" if is_file else "gzip" if is_coded else "inflated"
    etag = f"{sha256}-{form.space}-{form.objects or 'same'}-{coding}"
    headers = validators(etag) | {
        "accept-ranges": "none",
        "vary": "accept-encoding",
        "content-disposition": f'attachment; filename="{saved_as}"',
    }
    if is_coded:
        headers["content-encoding"] = "gzip"
    pieces = changed(path, form.space, form.objects)
    body = packed(pieces) if is_file or is_coded else pieces
    unchanged = _unchanged(request, etag)
    return unchanged or StreamingResponse(
        body, headers=headers, media_type="application/gzip" if is_file else "application/geo+json"
    )


def _digest(store: Store, job_id: str, file: str) -> str:
    provenance = store.read_result(job_id)
    if file == "result.json":
        return hashlib.sha256((store.job_dir(job_id) / file).read_bytes()).hexdigest()
    if file not in provenance.files:
        raise ResultNotFound("The job made no such result.", value=file, accepted=", ".join(provenance.files))
    return provenance.files[file]


def _unchanged(request: Request, etag: str) -> Response | None:
    if not is_current(request.headers.get("if-none-match"), etag):
        return None
    return Response(status_code=304, headers=validators(etag))
