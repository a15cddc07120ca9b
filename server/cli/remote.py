"""What the command asks of a server beside sending slides: how it is, how much a tenant has, and its batches."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from server.cli.extras import need

if TYPE_CHECKING:
    from ldiffusion_client import Client

DEFAULT_URL = "http://127.0.0.1:8000"
TABLES = (".parquet", ".csv")
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")

F = TypeVar("F", bound=Callable[..., object])


def of_server(command: F) -> F:
    """Give a command the options that say which server it asks, and as whom."""
    for option in (
        click.option(
            "--ca-file",
            envvar="LDIFFUSION_CA_FILE",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="Certificates to trust, PEM, of a certificate authority of your own.",
        ),
        click.option(
            "--key",
            envvar="LDIFFUSION_KEY",
            help="Key, if the server asks for one; in the variable no other user sees it.",
        ),
        click.option(
            "--server",
            "--url",
            "url",
            envvar="LDIFFUSION_URL",
            default=DEFAULT_URL,
            show_default=True,
            help="Its address.",
        ),
    ):
        command = option(command)
    return command


@contextmanager
def asking(command: str, url: str, key: str | None, ca_file: Path | None) -> Iterator["Client"]:
    """Give a client of a server to a command; what it refuses is told as the command tells its own errors.

    Raises:
        ExtraMissing: The client is not installed.
        ServerSaid: Something failed; its code says what.
    """
    need(command, "client")
    from ldiffusion_client import Client, RemoteError
    from server.cli.submit import ServerSaid

    try:
        with Client(url, key, ca_file=ca_file) as client:
            yield client
    except RemoteError as error:
        raise ServerSaid(error) from error


@click.command()
@of_server
def usage(url: str, key: str | None, ca_file: Path | None) -> None:
    """Print how much the tenant of a key has stored and under way, and how much it may have."""
    with asking("usage", url, key, ca_file) as client:
        told = client.usage()
    for name, count, size in (
        ("slides", told.slides, told.slides_bytes),
        ("jobs", told.jobs, told.jobs_bytes),
        ("batches", told.batches, told.batches_bytes),
        ("uploads", told.uploads, told.uploads_bytes),
    ):
        click.echo(f"{name:<18}{count:>8}{in_words(size):>14}")
    click.echo(f"{'stored':<26}{in_words(told.stored_bytes):>14}{_of(told.quota_bytes, in_words)}")
    click.echo(f"{'unfinished jobs':<18}{told.unfinished_jobs:>8}{_of(told.quota_jobs, str)}")


@click.command()
@of_server
def system(url: str, key: str | None, ca_file: Path | None) -> None:
    """Print how busy a server is; with a key that has the scope `admin`, also who works and how full its disk is."""
    with asking("system", url, key, ca_file) as client:
        told = client.system()
    click.echo(f"version {told.version}, models: {', '.join(told.models) or 'none'}")
    click.echo(f"{told.workers} workers, busy {told.busy_share:.0%} of the last minute")
    for each in told.queue:
        since = f", the oldest for {each.oldest_s:.0f} s" if each.waiting else ""
        click.echo(f"{each.priority:<12} {each.waiting} jobs wait{since}; {each.at_work} at work")
    if told.operator is None:
        return
    for worker in told.operator.workers:
        memory = f"{in_words(worker.memory_bytes)} of {in_words(worker.memory_max_bytes)}"
        held = worker.model or "no model"
        click.echo(
            f"worker {worker.id}  {held} on {worker.device}, busy {worker.busy_share:.0%}, {memory}, "
            f"since {worker.since:%Y-%m-%d %H:%M}"
        )
    if (disk := told.operator.storage) is not None:
        click.echo(f"disk: {in_words(disk.free_bytes)} free of {in_words(disk.size_bytes)}")


@click.group()
def batches() -> None:
    """Batches of jobs on a server."""


@batches.command("list")
@of_server
def list_batches(url: str, key: str | None, ca_file: Path | None) -> None:
    """List batches, the newest first: id, time, slides by state."""
    with asking("batches list", url, key, ca_file) as client:
        for batch in client.batches():
            counts = ", ".join(f"{count} {state}" for state, count in batch.counts.items())
            click.echo(f"{batch.id}  {batch.created_at:%Y-%m-%d %H:%M}  {counts}")


@batches.command("cohort")
@click.argument("batch_id")
@click.option("-o", "--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help=".parquet or .csv.")
@of_server
def fetch_cohort(batch_id: str, out: Path, url: str, key: str | None, ca_file: Path | None) -> None:
    """Fetch a batch as one table: a row for each slide with areas, counts and warnings."""
    if out.suffix.lower() not in TABLES:
        raise click.BadParameter(f"{out.name} is no table.", param_hint="'--out'")
    with asking("batches cohort", url, key, ca_file) as client:
        client.download_cohort(batch_id, out)
    click.echo(str(out))


@batches.command("delete")
@click.argument("batch_id")
@click.option("--jobs", is_flag=True, help="Cancel and delete all of its jobs as well, with their results.")
@of_server
def delete_batch(batch_id: str, url: str, key: str | None, ca_file: Path | None, *, jobs: bool) -> None:
    """Cancel a batch that is not done; delete one that is. Its jobs stay, unless --jobs is given."""
    with asking("batches delete", url, key, ca_file) as client:
        left = client.delete_batch(batch_id, jobs=jobs)
    click.echo("Deleted." if left is None else "What had not started is canceled; the batch is still there.")


def in_words(size_bytes: float) -> str:
    """Return bytes as a person reads them: `3.2 GiB`."""
    for unit in UNITS[:-1]:
        if size_bytes < 1024:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} {UNITS[-1]}"


def _of(most: int, told: Callable[[int], str]) -> str:
    return f" of {told(most)}" if most else " (no limit)"
