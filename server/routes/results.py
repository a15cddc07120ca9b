"""Files of a succeeded job, with ranges and validators. They come from the store alone: the queue may be down."""

import hashlib
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Path, Request, Response

from server.deps import StoreDep
from server.errors import error_responses
from server.files import ImmutableFile, accepts_gzip, inflated, is_current, validators
from workers.core.errors import ResultNotFound
from workers.core.store import Store

router = APIRouter(prefix="/v1/jobs", tags=["results"])


class Result(NamedTuple):
    """What stands behind the last part of a result's address."""

    file: str
    media_type: str
    disposition: str


RESULTS = {
    "overlay.ome.tif": Result("overlay.ome.tif", "image/tiff", "attachment"),
    "labels.ome.tif": Result("labels.ome.tif", "image/tiff", "attachment"),
    "regions.geojson": Result("regions.geojson.gz", "application/geo+json", "attachment"),
    "regions.geojson.gz": Result("regions.geojson.gz", "application/gzip", "attachment"),
    "statistics": Result("statistics.json", "application/json", "inline"),
    "result": Result("result.json", "application/json", "inline"),
    "preview.png": Result("preview.png", "image/png", "inline"),
}
ResultName = Annotated[
    str, Path(description="Which result.", json_schema_extra={"enum": list(RESULTS)}, examples=["overlay.ome.tif"])
]
FILE = {"schema": {"type": "string", "format": "binary"}}
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The whole file.", "content": {result.media_type: FILE for result in RESULTS.values()}},
    206: {"description": "The bytes that Range asks for."},
    304: {"description": "If-None-Match names the current version."},
    **error_responses(404, 409, 416, 422),
}


@router.get("/{job_id}/{name}", response_class=Response, responses=ANSWERS)
def get_result(job_id: str, name: ResultName, request: Request, store: StoreDep) -> Response:
    """Fetch a result. The ETag is the SHA-256 that `result.json` gives for the file; ranges and HEAD work."""
    result = RESULTS.get(name)
    if result is None:
        raise ResultNotFound("A job makes no such result.", value=name, accepted=", ".join(RESULTS))
    sha256 = _digest(store, job_id, result.file)
    path = store.job_dir(job_id) / result.file
    headers = {"content-disposition": f'{result.disposition}; filename="{name}"'}
    if name != "regions.geojson":
        return _unchanged(request, sha256) or ImmutableFile(path, sha256, result.media_type, headers)
    headers["vary"] = "accept-encoding"
    if accepts_gzip(request.headers.get("accept-encoding")):
        headers["content-encoding"] = "gzip"
        return _unchanged(request, sha256) or ImmutableFile(path, sha256, result.media_type, headers)
    # Other bytes than the stored ones, so another strong validator.
    etag = f"{sha256}-inflated"
    return _unchanged(request, etag) or inflated(path, etag, result.media_type, headers)


router.head("/{job_id}/{name}", include_in_schema=False, response_class=Response)(get_result)


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
