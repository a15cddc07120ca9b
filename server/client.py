"""A client of the server: upload with progress, follow the job, fetch every result and check its SHA-256."""

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import click
import httpx
from tqdm import tqdm

from workers.core.errors import LDiffusionError
from workers.core.schemas import FINAL_STATES, ErrorBody, JobView, Provenance, SlideInfo

PIECE_BYTES = 2**20
POLL_S = 0.5
TIMEOUT = httpx.Timeout(60.0, read=180.0)
"""Reading waits for the probe of an upload, which may take its minute."""

PHASES = {"queued": "waiting", "planning": "planning", "running": "segmenting", "finishing": "writing results"}
FILE_RESULTS = {"statistics.json": "statistics"}
"""Files that are called otherwise among a job's results."""


class RemoteError(LDiffusionError):
    """What the server answered, or why it could not be reached, told with the server's own code."""

    def __init__(self, body: ErrorBody) -> None:
        super().__init__(body.message, value=body.value, accepted=body.accepted)
        self.code = body.code  # type: ignore[misc] # the server's, not the class's


class Client:
    """The server at `url`.

    Args:
        url: Its address.
        key: What `ldiffusion keys create` printed, if the server asks for one.

    Raises (every method):
        RemoteError: The server refuses or cannot be reached.
    """

    def __init__(self, url: str, key: str | None = None) -> None:
        if key is not None and not (key.isascii() and key.isprintable()):
            raise _failure("invalid_key", "key: it has other characters than a key.", accepted="LDIFFUSION_KEY=ldk_…")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            self._http = httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT, trust_env=False)
        except httpx.InvalidURL as error:
            raise _failure("invalid_url", f"url: {error}.", url, "http://127.0.0.1:8000") from error

    def upload(self, path: Path) -> SlideInfo:
        """Send a slide and compare the SHA-256 that the server computed with what was sent."""
        sha256 = hashlib.sha256()
        size = path.stat().st_size
        with tqdm(total=size, unit="B", unit_scale=True, unit_divisor=1024, desc="uploading") as bar:
            answer = self._send(
                "PUT",
                "/v1/slides",
                params={"filename": path.name},
                headers={"Content-Length": str(size), "Content-Type": "application/octet-stream"},
                content=_pieces(path, bar, sha256),
            )
        slide = SlideInfo.model_validate_json(answer.content)
        if slide.sha256 != sha256.hexdigest():
            raise _failure("checksum_mismatch", "The server holds other bytes than were sent.", slide.sha256)
        return slide

    def submit(self, request: dict[str, Any]) -> JobView:
        """Submit a job."""
        return JobView.model_validate_json(self._send("POST", "/v1/jobs", json=request).content)

    def follow(self, job: JobView) -> JobView:
        """Show a job's phase, regions and time left until it ends; return it once it succeeded."""
        with tqdm(total=job.regions_total, unit="region", desc=PHASES["queued"]) as bar:
            while job.state not in FINAL_STATES:
                time.sleep(POLL_S)
                job = JobView.model_validate_json(self._send("GET", f"/v1/jobs/{job.id}").content)
                _show(job, bar)
        if job.state == "succeeded":
            return job
        raise RemoteError(job.error) if job.error else _failure(f"job_{job.state}", f"The job {job.state}.", job.id)

    def fetch_results(self, job: JobView, folder: Path) -> list[str]:
        """Fetch all results of a job into `folder` and return their names, `result.json` last.

        A file with another SHA-256 than `result.json` says is an error and is not kept.
        """
        folder.mkdir(parents=True, exist_ok=True)
        record = self._send("GET", job.results["result"]).content
        digests = Provenance.model_validate_json(record).files
        files = [name for name in digests if FILE_RESULTS.get(name, name) in job.results]
        for name in tqdm(files, unit="file", desc="fetching"):
            self._fetch(job.results[FILE_RESULTS.get(name, name)], folder / name, digests[name])
        (folder / "result.json").write_bytes(record)
        return [*files, "result.json"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def _fetch(self, address: str, path: Path, sha256: str) -> None:
        digest = hashlib.sha256()
        temporary = path.with_name(f".{path.name}.part")
        try:
            with self._http.stream("GET", address) as answer, temporary.open("wb") as file:
                if answer.is_error:
                    answer.read()
                _check(answer)
                for piece in answer.iter_bytes(PIECE_BYTES):
                    digest.update(piece)
                    file.write(piece)
            if digest.hexdigest() != sha256:
                raise _failure("checksum_mismatch", f"{path.name} did not arrive as it was made.", digest.hexdigest())
            temporary.replace(path)
        except httpx.TransportError as error:
            raise _unreachable(self._http.base_url, error) from error
        finally:
            temporary.unlink(missing_ok=True)

    def _send(self, method: str, address: str, **options: Any) -> httpx.Response:
        try:
            return _check(self._http.request(method, address, **options))
        except httpx.TransportError as error:
            raise _unreachable(self._http.base_url, error) from error


def submit(url: str, slide: Path, out: Path, request: dict[str, Any], key: str | None = None) -> None:
    """Do the whole: upload, job, results into `out`, and a table of the classes' areas.

    Args:
        url: Address of the server.
        slide: The slide.
        out: Folder of the results; made if absent.
        request: Fields of `JobRequest` but `slide_id`.
        key: For a server that asks for one.

    Raises:
        RemoteError: Something failed; its code says what.
    """
    with Client(url, key) as client:
        info = client.upload(slide)
        click.echo(f"slide {info.id}: {info.vendor}, {info.geometry.l0_width} x {info.geometry.l0_height} px")
        job = client.submit(request | {"slide_id": info.id})
        click.echo(f"job {job.id}: model {job.request.model}")
        files = client.fetch_results(client.follow(job), out)
    click.echo(area_table(json.loads((out / "statistics.json").read_text(encoding="utf-8"))))
    click.echo("\n".join(f"  {out / name}" for name in files))


def area_table(statistics: dict[str, Any]) -> str:
    """Return `statistics.json` as a table for people: area, share of the tissue, confidence per class."""
    lines = [f"{'class':<24}{'mm²':>12}{'% of tissue':>14}{'confidence':>12}"]
    for row in statistics["classes"]:
        confidence = row["mean_confidence"]
        lines.append(
            f"{row['name']:<24}{row['mm2']:>12.4f}{100 * (row['share_of_tissue'] or 0):>14.2f}"
            f"{'–' if confidence is None else format(confidence, '.3f'):>12}"
        )
    return "\n".join([*lines, f"{'tissue':<24}{statistics['tissue_mm2']:>12.4f}"])


def _pieces(path: Path, bar: "tqdm[Any]", digest: "hashlib._Hash") -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
            yield piece
            bar.update(len(piece))


def _show(job: JobView, bar: "tqdm[Any]") -> None:
    bar.set_description(PHASES.get(job.state, job.state), refresh=False)
    bar.set_postfix_str("" if job.eta_s is None else f"about {job.eta_s:.0f} s left", refresh=False)
    if job.regions_total is not None:
        bar.total = job.regions_total
        bar.n = job.regions_done
    bar.refresh()


def _check(answer: httpx.Response) -> httpx.Response:
    if not answer.is_error:
        return answer
    try:
        body = ErrorBody.model_validate(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        raise _failure(f"http_{answer.status_code}", "The address answers, but not as this server does.") from None
    raise RemoteError(body)


def _unreachable(url: httpx.URL, error: httpx.TransportError) -> RemoteError:
    return _failure("server_unreachable", f"No answer from {url}: {error}.", accepted="`ldiffusion serve`, or --url")


def _failure(code: str, message: str, value: str | None = None, accepted: str | None = None) -> RemoteError:
    return RemoteError(ErrorBody(code=code, message=message, value=value, accepted=accepted))
