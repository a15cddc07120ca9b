"""Fetching what a job has made, and what is made when it is asked for, free of sockets. Digests are checked."""

import hashlib
import itertools
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ldiffusion_client.errors import Damaged, Missing, Unreachable, failure
from ldiffusion_client.protocol import (
    Answer,
    Ask,
    Deadline,
    Open,
    Pause,
    Read,
    RetryPolicy,
    Seen,
    Steps,
    Work,
    retrying,
)
from ldiffusion_client.records import Provenance
from ldiffusion_client.views import JobView

FOLDERS = frozenset({"labels.ome.zarr"})
"""Products that are a folder of files."""

FILE_RESULTS = {"statistics.json": "statistics"}
"""Files that are called otherwise among a job's results."""

RECORD = "result.json"
METADATA = "zarr.json"
POLL_S = 1.0
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


class Fetched(NamedTuple):
    """A file that has arrived: SHA-256 of its bytes, and the ETag it was sent with."""

    sha256: str
    etag: str


class Transfer(NamedTuple):
    """A file that is to be fetched: its address, the SHA-256 it must have if that is known, how long to try."""

    address: str
    params: dict[str, Any]
    sha256: str | None
    deadline: Deadline
    patience_s: float


def download(
    job_id: str, name: str, path: Path, params: dict[str, Any], seen: Seen, timeout_s: float | None, patience_s: float
) -> Steps[Path]:
    """Fetch one result or product of a job to `path`, waiting until it is made; all of it arrives, or nothing stays.

    Raises:
        Missing, Refused: The job has no such product, or it cannot be made.
        ServerFailed, Busy: It could not be made, or the job has not succeeded.
        Damaged: The bytes are not those that were made.
        TookTooLong: It was not made in time.
        RemoteError.
    """
    address, deadline = f"/v1/jobs/{job_id}/{name}", Deadline(name, timeout_s)
    if name in FOLDERS:
        yield from _made(Ask("GET", address), deadline, patience_s)
        return (yield from _download_zarr(address, path, seen, patience_s))
    transfer = Transfer(address, params, None, deadline, patience_s)
    yield from _download_file(transfer, path, seen)
    return path


def download_results(
    job: JobView, folder: Path, products: Sequence[str], seen: Seen, patience_s: float
) -> Steps[list[str]]:
    """Fetch all results of a job, and these products, into `folder`; return their names, `result.json` last.

    What is there already with the right SHA-256 is not fetched again.

    Raises:
        As `download` does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = (yield from retrying(Ask("GET", job.results["result"]), patience_s)).content
    digests = Provenance.model_validate_json(record).files
    names = [name for name in digests if FILE_RESULTS.get(name, name) in job.results and _NAME.fullmatch(name)]
    for name in names:
        path, sha256 = folder / name, digests[name]
        if path.is_file() and (yield Work(partial(_sha256_of, path))) == sha256:
            continue
        address = job.results[FILE_RESULTS.get(name, name)]
        yield from _download_file(Transfer(address, {}, sha256, Deadline(name, None), patience_s), path, seen)
    for name in products:
        yield from download(job.id, name, folder / name, {}, seen, None, patience_s)
    (folder / RECORD).write_bytes(record)
    return [*names, *products, RECORD]


def find_features(
    job_id: str,
    box: tuple[float, float, float, float] | None,
    class_name: str | None,
    limit: int,
    cursor: str | None,
    patience_s: float,
) -> Steps[dict[str, Any]]:
    """Fetch the polygons that touch a box, level-0 px, as GeoJSON; the first question makes the index.

    Raises:
        Refused, Missing, RemoteError.
    """
    params: dict[str, Any] = {"limit": limit}
    params |= {} if box is None else {"bbox": ",".join(map(str, box))}
    params |= {} if class_name is None else {"class": class_name}
    params |= {} if cursor is None else {"cursor": cursor}
    step = Ask("GET", f"/v1/jobs/{job_id}/features", params)
    found: dict[str, Any] = json.loads((yield from _made(step, Deadline(job_id, None), patience_s)).content)
    return found


def fetch_file(address: str, path: Path, patience_s: float) -> Steps[Path]:
    """Fetch what lies at an address to `path`; all of it arrives, or nothing stays.

    Raises:
        Missing, RemoteError.
    """
    transfer = Transfer(address, {}, None, Deadline(path.name, None), patience_s)
    yield from _download_file(transfer, path, lambda *_progress: None)
    return path


def _made(step: Ask | Open, deadline: Deadline, patience_s: float) -> Steps[Answer]:
    """Ask for a product until it is made; return the answer that gives it."""
    while (answer := (yield from retrying(step, patience_s))).status == HTTPStatus.ACCEPTED:
        deadline.check()
        yield Pause(float(answer.headers.get("retry-after", POLL_S)))
    return answer


def _download_file(transfer: Transfer, path: Path, seen: Seen) -> Steps[None]:
    part = path.with_name(f".{path.name}.part")
    try:
        fetched = yield from _fetch(transfer, part, path.name, seen)
        wanted = transfer.sha256 or (fetched.etag if _SHA256.fullmatch(fetched.etag) else fetched.sha256)
        if fetched.sha256 != wanted:
            raise failure(Damaged, "checksum_mismatch", f"{path.name} did not arrive as it was made.", fetched.sha256)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _fetch(transfer: Transfer, part: Path, name: str, seen: Seen) -> Steps[Fetched]:
    """Fetch a file; where the line breaks, go on behind what has arrived if the file is still the same."""
    patience = RetryPolicy(transfer.patience_s)
    digest, done, etag = hashlib.sha256(), 0, ""
    while True:
        headers = {"Accept-Encoding": "identity"}  # not packed on the way: the digest is that of the file
        headers |= {"Range": f"bytes={done}-", "If-Range": f'"{etag}"'} if done and etag else {}
        step = Open(transfer.address, transfer.params, headers)
        answer = yield from _made(step, transfer.deadline, transfer.patience_s)
        if answer.status != HTTPStatus.PARTIAL_CONTENT:
            digest, done = hashlib.sha256(), 0
        etag = answer.headers.get("etag", "").strip('"')
        total = done + int(answer.headers.get("content-length", 0))
        try:
            with part.open("ab" if done else "wb") as file:
                while piece := (yield Read()):
                    yield Work(partial(_keep, file, digest, piece))
                    done += len(piece)
                    seen(name, done, max(done, total))
                    patience.renew()
            return Fetched(digest.hexdigest(), etag)
        except Unreachable as error:
            yield from patience.hold(error)


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _keep(file: BinaryIO, digest: "hashlib._Hash", piece: bytes) -> None:
    digest.update(piece)
    file.write(piece)


def _download_zarr(address: str, path: Path, seen: Seen, patience_s: float) -> Steps[Path]:
    """Fetch an OME-Zarr by what its own metadata names. Chunks that are not there are background, and stay so."""
    part = path.with_name(f".{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        arrays = yield from _download_groups(address, part, patience_s)
        chunks = [chunk for name, metadata in arrays for chunk in _chunks_of(name, metadata)]
        for done, chunk in enumerate(chunks, 1):
            try:
                answer = yield from retrying(Ask("GET", f"{address}/{chunk}"), patience_s)
                yield Work(partial(_write, part / chunk, answer.content))
            except Missing:
                pass
            seen(path.name, done, len(chunks))
        shutil.rmtree(path, ignore_errors=True)
        part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return path


def _download_groups(address: str, part: Path, patience_s: float) -> Steps[list[tuple[str, dict[str, Any]]]]:
    """Fetch the metadata of every group and array; return the arrays: path, metadata."""
    arrays = []
    groups = [""]
    for group in groups:  # grows while it is walked
        ome = (yield from _metadata(address, part, group, patience_s))["attributes"]["ome"]
        if not group:
            groups.append("labels/")
        groups += [f"{group}{_checked(name)}/" for name in ome.get("labels", ())]
        for dataset in (each for scales in ome.get("multiscales", ()) for each in scales["datasets"]):
            name = f"{group}{_checked(dataset['path'])}/"
            arrays.append((name, (yield from _metadata(address, part, name, patience_s))))
    return arrays


def _metadata(address: str, part: Path, folder: str, patience_s: float) -> Steps[dict[str, Any]]:
    answer: Answer = yield from retrying(Ask("GET", f"{address}/{folder}{METADATA}"), patience_s)
    yield Work(partial(_write, part / folder / METADATA, answer.content))
    metadata: dict[str, Any] = json.loads(answer.content)
    return metadata


def _chunks_of(name: str, metadata: dict[str, Any]) -> Iterator[str]:
    """Yield the path of every chunk that an array may have."""
    sides = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    counts = [range(-(-length // side)) for length, side in zip(metadata["shape"], sides, strict=True)]
    return (f"{name}c/{'/'.join(map(str, place))}" for place in itertools.product(*counts))


def _checked(name: str) -> str:
    """Return a name that stays in its folder, whatever a server says."""
    if not _NAME.fullmatch(name):
        raise failure(Damaged, "name_invalid", "The server names a file that is none of an OME-Zarr.", name)
    return name


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
