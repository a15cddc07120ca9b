"""`ldiffusion segment` of many slides: a folder for each, what is complete is skipped, one table at the end."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from workers.core.cohort.folders import Folders, alone_in
from workers.core.cohort.manifest import Entry, entries_of, read_manifest
from workers.core.cohort.rows import Row, State, row_of
from workers.core.cohort.slides_in import means_many
from workers.core.cohort.tables import check_summary, exit_status, table, write_summary
from workers.core.command_line import require_slides
from workers.core.errors.base import RequestInvalid
from workers.core.model.catalogue import find_model, locate
from workers.core.model.schemas import ModelCard
from workers.core.schemas import JobRequest
from workers.core.settings import Settings
from workers.core.sizing.memory import worker_memory_bytes
from workers.core.text import printable
from workers.many import earlier, running
from workers.pipeline.inference import cpu_threads

INTERRUPTED = 130
"""Exit status after Ctrl-C, as of every program that it ends."""

F = TypeVar("F", bound=Callable[..., object])


def of_many(command: F) -> F:
    """Give a command the options for many slides."""
    for option in (
        click.option("--summary", type=click.Path(path_type=Path), help="Write a row a slide: .parquet or .csv."),
        click.option(
            "--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Slides at once, of many."
        ),
        click.option(
            "--manifest",
            type=click.Path(path_type=Path),
            help="CSV of slides: path and, if wanted, mpp, model, labels (key=value;…).",
        ),
    ):
        command = option(command)
    return command


@dataclass(frozen=True)
class Asked:
    """What was asked of many slides.

    Args:
        slides: What was named: files, folders, patterns.
        output: The folder of all results.
        manifest: The table of slides, instead.
        jobs: How many at once.
        summary: The file of the summary.
        overwrite: Make complete results anew.
    """

    slides: tuple[Path, ...]
    output: Path
    manifest: Path | None
    jobs: int
    summary: Path | None
    overwrite: bool

    @property
    def is_one(self) -> bool:
        """Whether it is one slide, whose results go into the folder itself.

        Raises:
            UsageError: No slide was named, or in two ways.
        """
        require_slides(self.slides, self.manifest)
        return self.manifest is None and self.summary is None and not means_many(self.slides)


@dataclass(frozen=True)
class _Planned:
    entry: Entry
    out: Path
    request: JobRequest
    card: ModelCard
    task: running.Task


def segment_many(asked: Asked, settings: Settings, request_of: Callable[..., JobRequest], **options: Any) -> int:
    """Segment many slides and print the table of them.

    Args:
        asked: Which, and where to.
        settings: Those of this process.
        request_of: Makes a request of the options of one slide.
        options: Those of the command line, `model` as it was given.

    Returns:
        The exit status: 0, 1 where a slide failed, 130 after Ctrl-C.

    Raises:
        RequestInvalid, ModelNotFound, ModelInvalid: Something is wrong that can be seen before anything runs.
    """
    if options.get("roi") is not None:
        raise RequestInvalid("--roi is of one slide.", accepted="one slide with it, or many without")
    if asked.summary is not None:
        check_summary(asked.summary)
    default = options.pop("model")
    if asked.manifest is None:
        entries = entries_of(asked.slides, asked.output)
    else:
        entries = read_manifest(asked.manifest, lambda model: _card(model, settings))
    _card(default, settings)
    with alone_in(asked.output):
        folders = Folders(asked.output)
        planned = _plan(asked, entries, folders, settings, request_of, default, options)
        rows, is_whole = _run(asked, planned, folders)
    click.echo(table(rows))
    if asked.summary is not None:
        write_summary(asked.summary, rows)
        click.echo(printable(f"summary: {asked.summary}"))
    click.echo(printable(f"results: {asked.output}"))
    return exit_status(rows) if is_whole else INTERRUPTED


def _plan(
    asked: Asked,
    entries: Sequence[Entry],
    folders: Folders,
    settings: Settings,
    request_of: Callable[..., JobRequest],
    default: str,
    options: dict[str, Any],
) -> list[_Planned]:
    """Give each slide its folder and its command; check those that are complete."""
    threads = cpu_threads(settings.torch_threads, min(asked.jobs, len(entries)))
    memory = worker_memory_bytes(settings, min(asked.jobs, len(entries)))
    names = folders.assign([(entry.path, entry.named) for entry in entries])
    planned = []
    for entry, name in zip(entries, names, strict=True):
        model, mpp = entry.model or default, options["mpp"] if entry.mpp is None else entry.mpp
        card = _card(model, settings)
        request = request_of(model=card.name, **options | {"mpp": mpp})
        told = (*_line(request, model), "--threads", str(threads), "--device", settings.device)
        told += ("--memory", str(memory), "--engine", settings.engine, *(["--overwrite"] if asked.overwrite else []))
        out = asked.output / name
        planned.append(_Planned(entry, out, request, card, running.Task(entry.path, out, told)))
        if earlier.is_complete(out) and not asked.overwrite:
            earlier.require_same_question(out, request, card)
            if not folders.is_as_seen(name, entry.path):
                earlier.require_same_slide(out, entry.path)
                folders.saw(name, entry.path)
    return planned


def _run(asked: Asked, planned: Sequence[_Planned], folders: Folders) -> tuple[list[Row], bool]:
    """Run what is not complete; return the rows of all, in order, and whether nobody interrupted."""
    states: dict[Path, tuple[State, str]] = {}
    todo = []
    for each in planned:
        if earlier.is_complete(each.out) and not asked.overwrite:
            states[each.out] = ("done before", "")
            click.echo(printable(f"{each.out.name}: done before"), err=True)
        else:
            todo.append(each.task)

    def began(task: running.Task) -> None:
        states[task.out] = ("interrupted", "")
        folders.saw(task.out.name, task.slide)
        click.echo(printable(f"{task.out.name}: begun, {task.slide}"), err=True)

    def ended(task: running.Task, error: str) -> None:
        states[task.out] = ("failed", error) if error else ("done", "")
        click.echo(printable(f"{task.out.name}: {'failed: ' + error if error else 'done'}"), err=True)
        sys.stderr.flush()

    is_whole = running.run_all(todo, asked.jobs, began, ended)
    rows = []
    for each in planned:
        state, error = states.get(each.out, ("not begun", ""))
        rows.append(row_of(each.out, each.entry.named, state, error=error, labels=each.entry.labels))
    return rows, is_whole


def _card(model: str, settings: Settings) -> ModelCard:
    return find_model(*locate(model, settings.models_dir))


def _line(request: JobRequest, model: str) -> tuple[str, ...]:
    """Return a request as options of the command for one slide."""
    line = ["--model", model, "--seed", str(request.seed), "--on-bad-tile", request.on_bad_tile]
    line.append("--tissue" if request.tissue else "--no-tissue")
    for name in ("mpp", "region_px", "image"):
        if (value := getattr(request, name)) is not None:
            line += [f"--{name.replace('_', '-')}", str(value)]
    line += [f"--{name.replace('_', '-')}" for name in ("ignore_modality", "quality") if getattr(request, name)]
    for name in request.exclude_quality:
        line += ["--exclude-quality", name]
    return tuple(line)
