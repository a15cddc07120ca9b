"""The pipeline, read from top to bottom: `plan_slide` → `segment_region` × n → `finish_slide`.

Queued by name and with ids only. What a task does is in `stages`; this module says who may do it and what follows:
a task takes a lease, checks between steps that it is still wanted, and reports in one transaction with what it queues.
An error of ours ends the job at once with its code and sentence. Any other exception is RQ's: it is logged and the
task is tried again, `task_retries` times. There is no broad `except` here, RQ's timeout is an ordinary exception.
"""

import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from workers import stages
from workers.core.disk_room import storage_error
from workers.core.errors.base import JobCanceled, JobLost, LDiffusionError, QueueUnavailable
from workers.core.errors.jobs import OutOfMemory
from workers.core.job_files import count_size
from workers.core.model.catalogue import find_model
from workers.core.model.precision import choose_precision
from workers.core.queue.keys import Task
from workers.core.queue.lease import Lease, Superseded
from workers.core.queue.leases import Leases
from workers.core.queue.rates import pace_of
from workers.core.settings import Settings
from workers.core.sizing.memory import require_room_for
from workers.core.slides.doubts import record_of_image
from workers.core.storage.commits import Fenced
from workers.core.stored.jobs import open_scratch
from workers.core.stored.results import publish
from workers.core.telemetry import tallies
from workers.core.telemetry.logs import note
from workers.core.telemetry.tallies import TALLIES, PhaseClock, add_phase
from workers.masks import load_tissue
from workers.outputs.landed import Told
from workers.pipeline import coarse, stitch
from workers.pipeline.inference import DeviceLost, Engine, Segmenter, cpu_threads
from workers.process.cancellation import Watch
from workers.process.deadlines import output_s, region_s
from workers.process.watchdog import Watchdog, end_process, lacking
from workers.runtime import Runtime

logger = logging.getLogger(__name__)

FAULT_PAUSE_S = 5.0
"""Pause before a task is tried again whose disk failed; twice, three times as long after the next tries."""


_runtime: list[Runtime] = []


def configure(settings: Settings, leases: Leases, load: Callable[[Path], Segmenter] | None = None) -> Runtime:
    """Say with what the tasks of this process run; called by the worker before it takes the first one."""
    for before in _runtime:
        before.readers.close()
    threads = cpu_threads(settings.torch_threads, settings.workers)
    _runtime[:] = [Runtime(settings, leases, load or partial(Engine, device=settings.device, threads=threads))]
    return _runtime[0]


def runtime() -> Runtime:
    """Return what `configure` set up, for the tasks of other modules."""
    return _runtime[0]


def plan_slide(job_id: str) -> None:
    """Plan a job and queue its regions."""
    _run(Task(job_id, "plan"), _plan)


def segment_region(job_id: str, index: int) -> None:
    """Segment one region; whoever lands the last one queues the finish."""
    _run(Task(job_id, "region", index), _segment)


def finish_slide(job_id: str) -> None:
    """Make the outputs."""
    _run(Task(job_id, "finish"), _finish)


def _plan(runtime: Runtime, lease: Lease) -> None:
    store, job_id = runtime.store, lease.task.job_id
    started = time.perf_counter()
    request = store.read_request(job_id).request
    note(slide=request.slide_id)
    card = find_model(runtime.settings.models_dir, request.model)
    precision = choose_precision(runtime.settings.engine, runtime.settings.device, card)
    asked_for = request.slide_id, request.on_bad_tile, request.image
    with runtime.open(*asked_for, partial(runtime.leases.check, lease)) as (slide, path):
        judge = partial(runtime.readers.judge, path, request.image)
        info = record_of_image(store.read_slide(request.slide_id), slide, judge)
        least_bytes = runtime.leases.jobs.memory_bytes() or runtime.limits.memory_bytes  # any worker may do a part
        asked = request, card, store.job_dir(job_id), job_id, precision, least_bytes
        plan = stages.plan_job(slide, info, *asked)
    landed = stitch.regions_present(store.job_dir(job_id), plan)
    add_phase("plan", time.perf_counter() - started)
    todo = [index for index in plan.regions if index not in landed]
    runtime.leases.planned(lease, todo, len(plan.regions), time.perf_counter() - started, card)
    if card.heavy and not runtime.leases.jobs.workers_with_gpu(runtime.leases.jobs.host):
        logger.warning(
            "job %s: model %s is heavy, and no worker with a GPU is alive here: others take it", job_id, card.name
        )


def _segment(runtime: Runtime, lease: Lease) -> None:
    store, job_id = runtime.store, lease.task.job_id
    plan = store.read_plan(job_id)
    require_room_for(plan.estimated_peak_bytes, runtime.limits.memory_bytes)
    runtime.at_model = plan.model
    note(slide=plan.slide_id)
    engine = runtime.engine(plan.model)
    check = partial(runtime.leases.glance, lease)
    slowest = runtime.leases.paces.slowest(pace := pace_of(plan.model_digest, plan.tile_px))
    each_s = region_s(plan.region_px, plan.tile_px, slowest, runtime.limits.task_s)
    folder = store.job_dir(job_id)
    with runtime.open(plan.slide_id, plan.on_bad_tile, plan.image, check) as (slide, _):
        runtime.allow(each_s)  # not before: to fetch the slide may take longer
        if coarse.is_due(plan, lease.task.index, lambda: store.read_request(job_id).request.priority, folder):
            coarse.make_coarse(slide, plan, load_tissue(folder), engine, folder, check)
            runtime.allow(each_s)
        seconds, tiles = stages.segment_one(slide, plan, lease.task.index, engine, folder, check)
    TALLIES.add(tallies.TILES, plan.model, by=tiles)
    runtime.leases.region_done(lease, seconds, tiles)
    runtime.leases.measured(pace, seconds, tiles)


def _finish(runtime: Runtime, lease: Lease) -> None:
    store, job_id, leases = runtime.store, lease.task.job_id, runtime.leases
    if not (store.job_dir(job_id) / stages.RESULT).exists():
        plan = store.read_plan(job_id)
        require_room_for(plan.estimated_peak_bytes, runtime.limits.memory_bytes)
        each_s = output_s(plan.w_width, plan.w_height, runtime.limits.task_s)
        clock = PhaseClock()
        note(slide=plan.slide_id)

        def announce(name: str) -> None:
            runtime.allow(each_s)
            leases.announce(lease, name)
            clock.begin(name)

        check = partial(leases.check, lease)
        told = Told(check, announce, partial(leases.landed, lease))
        info, asked = store.read_slide(plan.slide_id), store.read_request(job_id).created_at
        timings, threads = leases.timings(job_id), runtime.threads
        with runtime.open(plan.slide_id, plan.on_bad_tile, plan.image, check) as (slide, _):
            given = slide, info, plan, store.job_dir(job_id)
            stages.finish_job(*given, created_at=asked, timings_s=timings, told=told, threads=threads)
        clock.end()
    count_size(store, job_id)
    runtime.allow(runtime.limits.task_s)
    publish(store, job_id, lease.token, partial(leases.check, lease))
    runtime.leases.finished(lease)


def _run(task: Task, body: Callable[[Runtime, Lease], None]) -> None:
    """Run a task under a lease."""
    runtime = _runtime[0]
    started = time.perf_counter()
    runtime.leases.jobs.ends.heed(task.job_id)  # whoever ended the job may have died before Redis heard of it
    lease = runtime.leases.begin(task)
    if lease is None:
        logger.info("job %s %s: nothing to do", task.job_id, task.name)
        runtime.leases.jobs.settle(task.job_id)
        runtime.leases.jobs.tidy(task.job_id)
        return
    outcome = "failed"
    try:
        with (
            Watchdog(runtime.limits, partial(_give_up, runtime, lease)) as watchdog,
            Watch(partial(runtime.leases.check, lease), hurry=partial(_hurry, runtime, watchdog)),
        ):
            runtime.allow = watchdog.allow
            open_scratch(runtime.store, task.job_id)
            body(runtime, lease)
        outcome = "done"
    except (JobCanceled, Superseded, Fenced) as reason:
        outcome = "canceled" if isinstance(reason, JobCanceled) else "superseded"
        runtime.leases.jobs.tidy(task.job_id)
    except QueueUnavailable:
        raise  # the queue cannot be told; the reaper will find the task
    except LDiffusionError as error:
        outcome = error.code
        runtime.leases.jobs.fail(task.job_id, error)
    except DeviceLost as loss:
        outcome = "device_lost"
        logger.error("this process ends itself, its accelerator computes no more: %s", loss)  # noqa: TRY400 (torch's)
        _give_up(runtime, lease, JobLost("The accelerator was lost each time a part of the job ran."))
        end_process()
    except (OSError, KeyError, ValueError, MemoryError) as error:
        if not _is_wanted(runtime, lease):  # its folder was cleared under its hands
            outcome = "canceled"
            runtime.leases.jobs.tidy(task.job_id)
        elif (known := lacking(error)) is not None:
            outcome = known.code
            runtime.leases.jobs.fail(task.job_id, known)
        else:
            if storage_error(error) is not None:
                time.sleep(FAULT_PAUSE_S * lease.attempt)  # a disk does not come back within milliseconds
            raise
    finally:
        seconds = time.perf_counter() - started
        logger.info("job %s %s: %s in %.2f s (attempt %d)", task.job_id, task.name, outcome, seconds, lease.attempt)
        _close(runtime, lease, outcome)


def _close(runtime: Runtime, lease: Lease, outcome: str) -> None:
    """Count a task that is over; of a region that did not come as far as its plan, the model is unknown."""
    TALLIES.add(tallies.TASKS, lease.task.kind, outcome)
    if lease.task.kind == "region":
        TALLIES.add(tallies.REGIONS, runtime.at_model, outcome)
    runtime.at_model = ""
    if outcome != "done":  # else the lease went with what the task reported
        runtime.leases.release(lease)


def _hurry(runtime: Runtime, watchdog: Watchdog) -> None:
    """Have a task end that is no longer wanted: one that waits for a reader hears nothing else."""
    watchdog.hurry()
    runtime.readers.abandon()


def _give_up(runtime: Runtime, lease: Lease, error: LDiffusionError) -> None:
    """Say why this process ends in the middle of a task. Memory would run out again; anything else is tried again."""
    leases, job_id = runtime.leases, lease.task.job_id
    is_last = isinstance(error, OutOfMemory) or lease.attempt >= leases.attempts_max
    if is_last and not isinstance(error, JobCanceled):
        leases.jobs.fail(job_id, error)
    leases.jobs.tidy(job_id)
    TALLIES.add(tallies.ENDS, error.code)
    leases.retire()


def _is_wanted(runtime: Runtime, lease: Lease) -> bool:
    try:
        runtime.leases.check(lease)
    except (JobCanceled, Superseded):
        return False
    return True
