"""A worker process: `python -m workers`.

The queue hears of the worker first, and is swept of what dead ones held: another worker may be idle, and this one has
torch to load. The model is loaded once, before the first task. SIGTERM and SIGINT end the process after the task at
hand; SIGKILL is survived by the job, not by the process: another worker's reaper gives the task away. A process whose
task hangs, or takes too much memory, ends itself (`workers.process.watchdog`): run it under something that starts it
again.
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from workers.core.command_line import CONTEXT, error_line, run
from workers.core.confinement.private import make_private, stay_private
from workers.core.errors.base import LDiffusionError, QueueUnavailable
from workers.core.model.catalogue import list_models
from workers.core.queue.exchange import answering
from workers.core.queue.jobs import Jobs
from workers.core.queue.leases import Leases
from workers.core.queue.pulse import Heartbeat
from workers.core.queue.worker import QueueWorker
from workers.core.schemas import JobRequest
from workers.core.settings import Settings
from workers.core.slides.versions import check_readers
from workers.core.store import new_id
from workers.core.telemetry.logs import start_logs
from workers.core.telemetry.status import WorkerStatus
from workers.process.watchdog import private_bytes

if TYPE_CHECKING:
    from workers.runtime import Runtime

LOG_FORMAT = "%(asctime)s %(levelname)s worker %(process)d %(name)s: %(message)s"
RETRY_S = 2.0
DEFAULT_MODEL = str(JobRequest.model_fields["model"].default)

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Work until told to stop; return the exit status."""
    return run(_command, "python -m workers", arguments)


@click.command(context_settings=CONTEXT)
@click.option(
    "--tell-fd", type=int, help="Descriptor that gets each id of the worker when it takes its first task under it."
)
def _command(tell_fd: int | None) -> int:
    """Run the tasks of LDIFFUSION_REDIS_URL. All settings are LDIFFUSION_<NAME>."""
    stay_private()
    signal.signal(signal.SIGTERM, _end)  # until the queue's own; loading torch takes a while
    on_task = _teller(tell_fd)
    settings = Settings()
    start_logs("worker", settings.log_format, LOG_FORMAT)
    try:
        check_readers()
        make_private(settings.data_dir)
        jobs = Jobs(settings.redis_url, settings)
        jobs.ping()
        work(settings, jobs, on_task)
    except LDiffusionError as error:
        logger.error("%s", error_line(error))  # noqa: TRY400 (a sentence, no traceback)
        return 1
    return 0


def work(settings: Settings, jobs: Jobs, on_task: Callable[[str], None]) -> None:
    """Take tasks until a signal asks for the end; come back after Redis was away."""
    runtimes: list[Runtime] = []
    status = WorkerStatus(settings.device, private_bytes)
    try:
        while not work_once(settings, Leases(jobs, new_id(), status), on_task, runtimes):
            logger.warning("the loop ended unasked; it starts again in %.0f s", RETRY_S)
            time.sleep(RETRY_S)
    finally:
        for runtime in runtimes:
            runtime.readers.close()


def work_once(settings: Settings, leases: Leases, on_task: Callable[[str], None], runtimes: "list[Runtime]") -> bool:
    """Take tasks until a signal asks for the end or Redis is gone; say whether a signal did.

    Args:
        settings: As the process read them.
        leases: Of this worker, of an id that no worker had before.
        on_task: Called with that id before each task.
        runtimes: What was loaded before; filled by the first call.
    """
    try:
        with answering(), Heartbeat(leases):
            if not runtimes:
                runtimes.append(_loaded(settings, leases))
            runtimes[0].leases = leases
            return QueueWorker(leases.jobs, leases.worker_id, on_task, leases.status).run()
    except QueueUnavailable as error:
        logger.warning("%s", error)
        return False


def _loaded(settings: Settings, leases: Leases) -> "Runtime":
    """Load torch and the model, which takes seconds to a minute: the heart beats meanwhile, and sweeps."""
    from workers import tasks  # noqa: PLC0415 (torch comes with it)

    runtime = tasks.configure(settings, leases)
    runtime.readers.start()  # beside the model, which takes longer
    preload(runtime, settings.models_dir)
    return runtime


def preload(runtime: "Runtime", models_dir: Path) -> None:
    """Load the default model, or the first one, so that the first job does not wait for it."""
    names = [card.name for card in list_models(models_dir)]
    chosen = DEFAULT_MODEL if DEFAULT_MODEL in names else next(iter(names), None)
    if chosen is None:
        logger.warning("no model is installed in %s", models_dir)
        return
    try:
        runtime.engine(chosen)
    except LDiffusionError as error:  # jobs that ask for it will say so; others can still run
        logger.warning("model %s cannot be loaded: %s", chosen, error.message)


def _end(_number: int, _frame: FrameType | None) -> None:
    """End in order, before there is a task."""
    raise SystemExit(0)


def _teller(descriptor: int | None) -> Callable[[str], None]:
    """Return what tells the supervisor, once for each id, who came as far as a task in this process."""
    told: set[str] = set()

    def tell(worker_id: str) -> None:
        if descriptor is not None and worker_id not in told:
            told.add(worker_id)
            with suppress(BrokenPipeError):
                os.write(descriptor, worker_id.encode())

    return tell


if __name__ == "__main__":
    sys.exit(main())
