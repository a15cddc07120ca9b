"""`ldiffusion corrections`: what people say of the objects of a job on a server."""

import json
from pathlib import Path
from typing import Any

import click

from server.cli.remote import asking, of_server
from workers.core.roi.option import RoiOption

CONNECTION = ("url", "key", "ca_file")


@click.group()
def corrections() -> None:
    """Corrections of the objects of a job: accepted, rejected, of another class, drawn anew, added."""


@corrections.command("list")
@click.argument("job_id")
@of_server
def list_corrections(job_id: str, url: str, key: str | None, ca_file: Path | None) -> None:
    """Print each corrected object as it stands: id, state, class, µm², who and when."""
    with asking("corrections list", url, key, ca_file) as client:
        found = client.corrections(job_id)
    for each in found.items:
        told = f"{each.id}  {each.state:<10}  {each.class_name:<16}  {each.area_um2:>10.1f}"
        click.echo(f"{told}  {each.author.name}  {each.at:%Y-%m-%d %H:%M}")
    click.echo(f"revision {found.revision}, {len(found.items)} objects")


@corrections.command()
@click.argument("job_id")
@click.argument("objects", nargs=-1, required=True)
@of_server
def accept(job_id: str, objects: tuple[str, ...], **server: Any) -> None:
    """Say that OBJECTS, ids of features, are right."""
    _correct(server, job_id, [{"action": "accept", "object": each} for each in objects])


@corrections.command()
@click.argument("job_id")
@click.argument("objects", nargs=-1, required=True)
@of_server
def reject(job_id: str, objects: tuple[str, ...], **server: Any) -> None:
    """Say that there are no such objects as OBJECTS, ids of features."""
    _correct(server, job_id, [{"action": "reject", "object": each} for each in objects])


@corrections.command()
@click.argument("job_id")
@click.argument("objects", nargs=-1, required=True)
@click.option("--class", "class_name", required=True, help="A class of the model.")
@of_server
def relabel(job_id: str, objects: tuple[str, ...], class_name: str, **server: Any) -> None:
    """Give OBJECTS, ids of features, another class."""
    changes = [{"action": "relabel", "object": each, "class_name": class_name} for each in objects]
    _correct(server, job_id, changes)


@corrections.command()
@click.argument("job_id")
@click.argument("object_id")
@click.argument("outline", type=RoiOption())
@of_server
def redraw(job_id: str, object_id: str, outline: Any, **server: Any) -> None:
    """Give an object another OUTLINE: a file of one GeoJSON polygon, or a box X0,Y0,X1,Y1, in level-0 px."""
    _correct(server, job_id, [{"action": "redraw", "object": object_id, "geometry": outline}])


@corrections.command()
@click.argument("job_id")
@click.argument("outline", type=RoiOption())
@click.option("--class", "class_name", required=True, help="A class of the model.")
@of_server
def add(job_id: str, outline: Any, class_name: str, **server: Any) -> None:
    """Add an object that the model has not found: OUTLINE is as of `redraw`."""
    _correct(server, job_id, [{"action": "add", "class_name": class_name, "geometry": outline}])


@corrections.command()
@click.argument("job_id")
@click.argument("revision", type=click.IntRange(min=1), required=False)
@of_server
def undo(job_id: str, revision: int | None, **server: Any) -> None:
    """Take a REVISION back; without one, the latest that stands."""
    with asking("corrections undo", *_of(server)) as client:
        known = client.corrections(job_id)
        wanted = known.undoable if revision is None else revision
        if wanted is None:
            click.echo("There is nothing to take back.")
            return
        made = client.undo_correction(job_id, wanted, revision=known.revision)
    click.echo(f"Revision {wanted} is taken back by revision {made.revision}.")


@corrections.command()
@click.argument("job_id")
@of_server
def history(job_id: str, **server: Any) -> None:
    """Print every revision: number, when, who, what."""
    with asking("corrections history", *_of(server)) as client:
        found = client.correction_history(job_id)
    for each in found:
        actions = ", ".join(f"{change['action']} {change['object']}" for change in each.changes)
        told = f"takes back {each.undo}" if each.undo is not None else actions
        click.echo(f"{each.revision:>5}  {each.at:%Y-%m-%d %H:%M}  {each.author.name}  {told}")


@corrections.command()
@click.argument("job_id")
@click.option("--json", "as_json", is_flag=True, help="As the server tells it.")
@of_server
def statistics(job_id: str, *, as_json: bool, **server: Any) -> None:
    """Print counts, mm² and density of each class, without corrections and with them."""
    with asking("corrections statistics", *_of(server)) as client:
        found = client.correction_statistics(job_id)
    if as_json:
        click.echo(json.dumps(found.model_dump(mode="json"), indent=2, ensure_ascii=False))
        return
    click.echo(f"{'class':<20}{'':<12}{'objects':>9}{'mm²':>12}{'per mm²':>12}")
    for each in found.classes:
        for name, kind, amount in ((each.name, "without", each.without), ("", "corrected", each.corrected)):
            count = "-" if amount.count is None else str(amount.count)
            density = "-" if amount.density_per_mm2 is None else f"{amount.density_per_mm2:.1f}"
            click.echo(f"{name:<20}{kind:<12}{count:>9}{amount.mm2:>12.6f}{density:>12}")


@corrections.command()
@click.argument("job_id")
@click.option("-o", "--out", type=click.Path(dir_okay=False, path_type=Path), default="training.zip", show_default=True)
@of_server
def export(job_id: str, out: Path, **server: Any) -> None:
    """Fetch crops and masks of what was corrected: unpacked, a dataset for `ldiffusion data check` and training."""
    with asking("corrections export", *_of(server)) as client:
        client.download(job_id, "training.zip", out)
    click.echo(str(out))


def _of(server: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Return address, key and certificates."""
    url, key, ca_file = (server[name] for name in CONNECTION)
    return url, key, ca_file


def _correct(server: dict[str, Any], job_id: str, changes: list[dict[str, Any]]) -> None:
    with asking("corrections", *_of(server)) as client:
        made = client.correct(job_id, changes)
    for each in made.items:
        click.echo(f"{each.id}  {each.state}  {each.class_name}")
    click.echo(f"revision {made.revision}")
