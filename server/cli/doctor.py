"""`ldiffusion doctor`: is what is stored and what is queued of one mind; and a failed job once more."""

from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from server.cli.extras import need
from server.cli.keys import DATA_DIR
from workers.core.confinement.private import make_private, stay_private
from workers.core.errors.base import QueueUnavailable
from workers.core.settings import Settings

if TYPE_CHECKING:
    from server.catalogue.catalogue import Catalogue


@click.command()
@click.option("--repair", is_flag=True, help="Mend what can be mended.")
@click.option("--digests", is_flag=True, help="Read all results again, and compare them with their digests.")
@click.option("--resume", "resumed", multiple=True, metavar="JOB", help="Queue a failed job again; may be repeated.")
@click.option("--rebuild-catalogue", "rebuilt", is_flag=True, help="Make the index of slides and jobs anew first.")
@DATA_DIR
def doctor(data_dir: Path | None, resumed: tuple[str, ...], *, repair: bool, digests: bool, rebuilt: bool) -> None:
    """Look at the store against the queue. Status 0: all is well, or mended; 1: something is left."""
    need("doctor", "server")
    from server.catalogue.catalogue import Catalogue
    from server.jobs.doctor import Doctor
    from server.process.embedded_redis import EmbeddedRedis
    from workers.core.queue.jobs import Jobs

    stay_private()
    settings = Settings() if data_dir is None else Settings(data_dir=data_dir)
    make_private(settings.data_dir)
    with ExitStack() as stack:
        url = settings.redis_url
        if not url:
            queue = EmbeddedRedis(settings.data_dir)
            url = queue.url  # of the server that runs there
            try:
                stack.enter_context(queue)
            except QueueUnavailable:  # one runs; if that was not the reason, nothing answers below
                click.echo("the queue of a running server is used", err=True)
        jobs = Jobs(url, settings)
        stack.callback(jobs.close)
        jobs.ping()
        for job_id in resumed:
            click.echo(f"{job_id}: {jobs.resume(job_id).state}")
        if rebuilt:
            _rebuild(Catalogue(jobs))
        left = 0
        for finding in Doctor(jobs, repair=repair, digests=digests).findings():
            left += not finding.mended
            click.echo(f"{'mended' if finding.mended else 'found':<8}{finding.kind:<26}{finding.id}  {finding.detail}")
    click.echo(f"{left} left" if left else "all is well")
    if left:
        raise SystemExit(1)


def _rebuild(catalogue: "Catalogue") -> None:
    with closing(catalogue):
        counts = catalogue.rebuild()
    found = ", ".join(f"{count} of kind {kind}" for kind, count in sorted(counts.items()))
    click.echo(f"the index is made anew: {found or 'nothing is stored'}")
