"""`ldiffusion submit` of many slides: what the server lacks is sent, jobs go in batches, one table at the end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from ldiffusion_client import Client, Damaged, JobEnded, Missing, Refused, RemoteError
from ldiffusion_client.errors import failure
from server.cli.submit import Bar, ServerSaid, find_job
from workers.core.cohort.folders import Folders, alone_in
from workers.core.cohort.manifest import Entry, entries_of, read_manifest
from workers.core.cohort.rows import RESULT, Row, State, row_of
from workers.core.cohort.slides_in import DICOM, find_slides, means_many
from workers.core.cohort.tables import check_summary, exit_status, table, write_summary
from workers.core.command_line import error_line, require_slides
from workers.core.errors.base import ModelNotFound, RequestInvalid
from workers.core.schemas import JobRequest, Provenance
from workers.core.text import printable

BATCH_MAX = 1000
INTERRUPTED = 130
OF_ONE_SLIDE = (Refused, Missing, JobEnded, Damaged)
"""What is wrong with a slide or its job. All else is wrong with the server, or the way to it."""


@dataclass(frozen=True)
class Wanted:
    """What was asked of many slides.

    Args:
        slides: What was named: files, folders, patterns.
        out: The folder of all results.
        manifest: The table of slides, instead.
        summary: The file of the summary.
        request: Fields of `JobRequest` but `slide_id`.
        products: What is to be fetched besides the results.
        fresh: Make new slides and jobs, also where the server has the same.
        labels: Of every slide on the server; what the manifest says of one stands above them.
    """

    slides: tuple[Path, ...]
    out: Path
    manifest: Path | None
    summary: Path | None
    request: Mapping[str, Any]
    products: Sequence[str] = ()
    fresh: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_one(self) -> bool:
        """Whether it is one slide, as a file or as the folder of a DICOM series.

        Raises:
            UsageError: No slide was named, or in two ways.
        """
        require_slides(self.slides, self.manifest)
        if self.manifest is not None or self.summary is not None or not means_many(self.slides):
            return self.manifest is None and self.summary is None
        return len(self.slides) == 1 and self.slides[0].is_dir() and _is_series(self.slides[0])


@dataclass
class _Slide:
    """A slide on its way."""

    entry: Entry
    out: Path
    request: dict[str, Any]
    slide_id: str = ""
    job_id: str = ""
    state: State = "not begun"
    error: str = ""

    def failed(self, error: RemoteError) -> None:
        """Note why there is no result."""
        self.state, self.error = "failed", error_line(ServerSaid(error))
        click.echo(printable(f"{self.out.name}: failed: {self.error}"), err=True)

    def row(self) -> Row:
        """What became of it."""
        entry = self.entry
        return row_of(self.out, entry.named, self.state, error=self.error, labels=entry.labels)


@dataclass
class _Cohort:
    client: Client
    wanted: Wanted
    slides: list[_Slide] = field(default_factory=list)

    def run(self) -> bool:
        """Send, submit, fetch; return whether nobody interrupted."""
        try:
            with Bar() as bar:
                for slide in self.slides:
                    self._send(slide, bar)
            self._submit()
            with Bar() as bar:
                for slide in self.slides:
                    if slide.job_id:
                        self._fetch(slide, bar)
        except KeyboardInterrupt:
            for slide in self.slides:
                if slide.slide_id and slide.state == "not begun":
                    slide.state = "interrupted"
            return False
        return True

    def _send(self, slide: _Slide, bar: Bar) -> None:
        entry = slide.entry
        try:
            if entry.files > 1 and entry.named == entry.path:
                told = "The folder of this DICOM series holds other slides too."
                raise failure(Refused, "invalid_request", told, entry.path, "a folder for each series")
            slide.slide_id = self.client.upload(entry.named, resume=not self.wanted.fresh, progress=bar.bytes).id
            if labels := {**self.wanted.labels, **entry.labels}:
                self.client.label_slide(slide.slide_id, labels)
            known = None if self.wanted.fresh else find_job(self.client, slide.slide_id, slide.request)
            slide.job_id = known.id if known else ""
        except OF_ONE_SLIDE as error:
            slide.failed(error)

    def _submit(self) -> None:
        """Make jobs for what has none: a batch for those that are asked for in the same words."""
        groups: dict[str, list[_Slide]] = {}
        for slide in self.slides:
            if slide.slide_id and not slide.job_id:
                groups.setdefault(repr(sorted(slide.request.items())), []).append(slide)
        for group in groups.values():
            by_id: dict[str, list[_Slide]] = {}
            for slide in group:
                by_id.setdefault(slide.slide_id, []).append(slide)
            ids = list(by_id)
            for begin in range(0, len(ids), BATCH_MAX):
                self._batch({each: by_id[each] for each in ids[begin : begin + BATCH_MAX]}, group[0].request)

    def _batch(self, slides: Mapping[str, list[_Slide]], request: dict[str, Any]) -> None:
        try:
            batch = self.client.submit_batch(list(slides), **request)
        except OF_ONE_SLIDE:  # none of them can have a job, and the batch says why of the first alone
            for slide in (each for same in slides.values() for each in same):
                self._alone(slide)
            return
        click.echo(f"batch {batch.id}: {len(batch.items)} slides, model {request['model']}", err=True)
        for item in batch.items:
            for slide in slides[item.slide_id]:
                slide.job_id = item.job_id or ""
                if item.error is not None:
                    slide.failed(Refused(item.error))

    def _alone(self, slide: _Slide) -> None:
        try:
            slide.job_id = self.client.submit(slide.slide_id, **slide.request).id
        except OF_ONE_SLIDE as error:
            slide.failed(error)

    def _fetch(self, slide: _Slide, bar: Bar) -> None:
        try:
            job = self.client.wait(slide.job_id, progress=bar.job)
            had = _job_of(slide.out)
            self.client.download_results(job, slide.out, products=self.wanted.products, progress=bar.bytes)
        except OF_ONE_SLIDE as error:
            slide.failed(error)
        else:
            slide.state = "done before" if had == job.id else "done"
            click.echo(printable(f"{slide.out.name}: {slide.state}"), err=True)


def submit_many(wanted: Wanted, url: str, key: str | None, ca_file: Path | None) -> int:
    """Send many slides to a server, have them segmented, fetch all results, print the table.

    Returns:
        The exit status: 0, 1 where a slide failed, 130 after Ctrl-C.

    Raises:
        RequestInvalid, ModelNotFound: Something is wrong that can be seen before anything is sent.
        ServerSaid: The server does not answer, or lets nobody in.
    """
    if "roi" in wanted.request:
        raise RequestInvalid("--roi is of one slide.", accepted="one slide with it, or many without")
    if wanted.summary is not None:
        check_summary(wanted.summary)
    request = {"priority": "batch", **wanted.request}
    _check(request)
    try:
        with Client(url, key, ca_file=ca_file) as client:
            models = {card.name for card in client.models()}
            entries = _entries(wanted, request["model"], models)
            with alone_in(wanted.out):
                cohort = _Cohort(client, wanted, _slides(wanted, entries, request))
                is_whole = cohort.run()
    except RemoteError as error:
        raise ServerSaid(error) from error
    rows = [slide.row() for slide in cohort.slides]
    click.echo(table(rows))
    if wanted.summary is not None:
        write_summary(wanted.summary, rows)
        click.echo(printable(f"summary: {wanted.summary}"))
    click.echo(printable(f"results: {wanted.out}"))
    return exit_status(rows) if is_whole else INTERRUPTED


def _entries(wanted: Wanted, default: str, models: set[str]) -> list[Entry]:
    def check(model: str) -> None:
        if model not in models:
            raise ModelNotFound(
                "The server has no model of this name.", value=model, accepted=", ".join(sorted(models))
            )

    check(default)
    if wanted.manifest is None:
        return entries_of(wanted.slides, wanted.out)
    return read_manifest(wanted.manifest, check)


def _slides(wanted: Wanted, entries: Sequence[Entry], request: Mapping[str, Any]) -> list[_Slide]:
    folders = Folders(wanted.out)
    names = folders.assign([(entry.path, entry.named) for entry in entries])
    slides = []
    for entry, name in zip(entries, names, strict=True):
        own = {"model": entry.model, "mpp": entry.mpp}
        asked = {**request, **{key: value for key, value in own.items() if value is not None}}
        slides.append(_Slide(entry, wanted.out / name, asked))
    return slides


def _check(request: Mapping[str, Any]) -> None:
    try:
        JobRequest(slide_id="any", **request)
    except ValidationError as error:
        first = error.errors()[0]
        told = ".".join(map(str, first["loc"]))
        raise RequestInvalid(f"{told}: {first['msg']}.", value=first["input"]) from error


def _job_of(out: Path) -> str | None:
    """Return the id of the job whose results are in a folder; None if there are none."""
    try:
        return Provenance.model_validate_json((out / RESULT).read_bytes()).job_id
    except (OSError, ValidationError):
        return None


def _is_series(folder: Path) -> bool:
    """Whether a folder holds one DICOM series and no other slide, or files of which names say nothing."""
    try:
        found = find_slides([folder])
    except RequestInvalid:
        return True
    return len(found) == 1 and found[0].path.parent == folder and found[0].path.suffix.lower() == DICOM
