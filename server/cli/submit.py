"""`ldiffusion submit`: a slide to a server, its results back, with bars. Killed and started again, it goes on."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import click
from pydantic import ValidationError
from tqdm import tqdm

from ldiffusion_client import Client, JobView, Missing, Progress, RemoteError
from workers.core.errors.base import LDiffusionError
from workers.core.roi.polygons import read_roi
from workers.core.schemas import JobRequest
from workers.core.text import printable

BYTES = {"unit": "B", "unit_scale": True, "unit_divisor": 1024}
PHASES = {"queued": "waiting", "planning": "planning", "running": "segmenting", "finishing": "writing results"}
DEAD_ENDS = frozenset({"failed", "canceled"})
LISTED = 100


class ServerSaid(LDiffusionError):
    """What the client raised, with the server's own code.

    Args:
        error: What it raised.
    """

    def __init__(self, error: RemoteError) -> None:
        super().__init__(str(error), value=error.value, accepted=error.accepted)
        self.code = error.code  # type: ignore[misc] # the server's, not the class's


class Bar:
    """One bar after the other, for what is told of progress."""

    def __init__(self) -> None:
        self._shown: tqdm[Any] | None = None
        self._what = ""

    def bytes(self, what: str, done: int, total: int) -> None:
        """Show bytes: of a file that is read or sent, or of one that arrives."""
        bar = self._bar(what, total, BYTES)
        bar.total = total
        bar.update(done - bar.n)

    def job(self, progress: Progress) -> None:
        """Show a job: phase, regions, time left."""
        bar = self._bar("job", progress.regions_total, {"unit": "region"})
        bar.set_description(PHASES.get(progress.state, progress.state), refresh=False)
        bar.set_postfix_str("" if progress.eta_s is None else f"about {progress.eta_s:.0f} s left", refresh=False)
        if progress.regions_total is not None:
            bar.total, bar.n = progress.regions_total, progress.regions_done
        bar.refresh()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _bar(self, what: str, total: int | None, options: dict[str, Any]) -> "tqdm[Any]":
        if self._shown is None or self._what != what:
            self._end()
            self._shown, self._what = tqdm(total=total, desc=what, **options), what
        return self._shown

    def _end(self) -> None:
        if self._shown is not None:
            self._shown.close()


def submit(
    url: str,
    slide: Path,
    out: Path,
    request: dict[str, Any],
    key: str | None = None,
    products: Sequence[str] = (),
    *,
    fresh: bool = False,
    ca_file: Path | None = None,
    labels: Mapping[str, str] | None = None,
) -> None:
    """Do the whole: upload, job, results into `out`, and a table of the classes' areas.

    Args:
        url: Address of the server.
        slide: The slide.
        out: Folder of the results; made if absent.
        request: Fields of `JobRequest` but `slide_id`.
        key: For a server that asks for one.
        products: What is to be fetched besides the results.
        fresh: Make a new slide and job, also where the server has the same.
        ca_file: Certificates to trust, if the server's was signed by none that everybody trusts.
        labels: Of the slide on the server; those that it has besides stay.

    Raises:
        RequestInvalid: The region of interest is none.
        ServerSaid: Something failed; its code says what.
    """
    if "roi" in request:  # as polygons: what else a file says of people and slides stays here
        request = request | {"roi": read_roi(request["roi"]).model_dump()}
    try:
        with Client(url, key, ca_file=ca_file) as client:
            files = _fetch(client, slide, out, request, products, labels or {}, fresh=fresh)
    except RemoteError as error:
        raise ServerSaid(error) from error
    statistics = out / "statistics.json"
    if statistics.name in files:
        click.echo(area_table(json.loads(statistics.read_text(encoding="utf-8"))))
    click.echo(printable("\n".join(f"  {out / name}" for name in files)))


def _fetch(
    client: Client,
    slide: Path,
    out: Path,
    request: dict[str, Any],
    products: Sequence[str],
    labels: Mapping[str, str],
    *,
    fresh: bool,
) -> list[str]:
    """Upload a slide, follow its job, fetch what it made; return the names of the files."""
    if "roi" in request:  # before the slide, which may take hours
        for warning in client.check_roi(request["roi"]).warnings:
            click.echo(f"warning: {warning.code}: {warning.message} Found at: {warning.place}.", err=True)
    with Bar() as bar:
        info = client.upload(slide, resume=not fresh, progress=bar.bytes)
    if labels:
        client.label_slide(info.id, labels)
    click.echo(f"slide {info.id}: {info.vendor}, {info.geometry.l0_width} x {info.geometry.l0_height} px")
    known = None if fresh else find_job(client, info.id, request)
    job = known or client.submit(info.id, **request)
    click.echo(f"job {job.id}: model {job.request.model}{', begun before' if known else ''}")
    with Bar() as bar:
        job = client.wait(job.id, progress=bar.job)
    for caution in job.warnings:
        click.echo(f"warning: {caution}", err=True)
    with Bar() as bar:
        return client.download_results(job, out, products=products, progress=bar.bytes)


def find_job(client: Client, slide_id: str, request: dict[str, Any]) -> JobView | None:
    """Return the newest job that was asked for in the same words, and is on its way or has what the model says now."""
    try:
        wanted = JobRequest(slide_id=slide_id, **request)
    except ValidationError:  # the server says why, in its own words
        return None
    for job in client.jobs(LISTED, slide=slide_id):
        if _asked(job) == wanted and job.state not in DEAD_ENDS and not _is_outdated(client, job):
            return job
    return None


def _asked(job: JobView) -> JobRequest:
    """Return what was asked of a job, in the words of this version."""
    return JobRequest.model_validate(job.request.model_dump())


def _is_outdated(client: Client, job: JobView) -> bool:
    """Whether the model is no longer the one that made the results of a job."""
    if job.state != "succeeded":
        return False
    try:
        digests = {card.name: card.digest for card in client.models()}
        return client.record(job).model_digest != digests.get(job.request.model)
    except Missing:  # the job was deleted meanwhile
        return True


def area_table(statistics: dict[str, Any]) -> str:
    """Return `statistics.json` as a table for people: area, share of the tissue, confidence, objects per class."""
    lines = [f"{'class':<24}{'mm²':>12}{'% of tissue':>14}{'confidence':>12}{'objects':>12}"]
    for row in statistics["classes"]:
        confidence, count = row["mean_confidence"], row.get("count")
        lines.append(
            f"{row['name']:<24}{row['mm2']:>12.4f}{100 * (row['share_of_tissue'] or 0):>14.2f}"
            f"{'–' if confidence is None else format(confidence, '.3f'):>12}{'–' if count is None else count:>12}"
        )
    return "\n".join([*lines, f"{'tissue':<24}{statistics['tissue_mm2']:>12.4f}"])
