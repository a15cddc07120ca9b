"""What a route may ask for by an id in its path. What is another tenant's is told by the error of what is not there."""

from typing import Annotated

from fastapi import Depends

from server.access.guards import CallerDep
from server.jobs.batch_records import batch_missing
from server.jobs.batches import Batches
from server.routes.deps import JobsDep, ResumableDep, StoreDep
from server.uploads.store import upload_missing
from workers.core.schemas import JobView
from workers.core.slide_schemas import SlideInfo
from workers.core.store import job_missing, slide_missing
from workers.core.stored.jobs import require_own_job
from workers.core.stored.results import bring_result


def own_slide(slide_id: str, store: StoreDep, caller: CallerDep) -> SlideInfo:
    """Return a slide of the caller.

    Raises:
        SlideNotFound.
    """
    info = store.read_slide(slide_id)
    caller.check_owner(info.tenant, slide_missing(slide_id))
    return info


def own_stored_job(job_id: str, store: StoreDep, caller: CallerDep) -> None:
    """Let only the owner of a job pass, by what the disk says: the queue may be down.

    Raises:
        JobNotFound.
    """
    caller.check_owner(store.read_request(job_id).tenant, job_missing(job_id))
    bring_result(store, job_id)


def own_job(job_id: str, jobs: JobsDep, caller: CallerDep) -> JobView:
    """Return a job of the caller.

    Raises:
        JobNotFound, QueueUnavailable.
    """
    bring_result(jobs.store, job_id)
    view = jobs.view(job_id)
    caller.check_owner(view.tenant, job_missing(job_id))
    return view


def job_here(job_id: str, store: StoreDep) -> None:
    """Let only jobs pass whose truth lies in this gateway's folder.

    Raises:
        OnAnotherHost.
    """
    require_own_job(store, job_id)


def own_batch(batch_id: str, jobs: JobsDep, caller: CallerDep) -> Batches:
    """Return the batches, once it is known that this one is the caller's.

    Raises:
        BatchNotFound.
    """
    batches = Batches(jobs)
    caller.check_owner(batches.owner(batch_id), batch_missing(batch_id))
    return batches


async def own_upload(upload_id: str, resumable: ResumableDep, caller: CallerDep) -> None:
    """Let only the owner of a resumable upload pass.

    Raises:
        UploadNotFound.
    """
    caller.check_owner(await resumable.owner(upload_id), upload_missing(upload_id))


async def may_go_on(upload_id: str, resumable: ResumableDep, caller: CallerDep) -> None:
    """Let those pass who may look, and of others the key that made the upload: it has to know where to go on.

    Raises:
        ScopeMissing: Whether there is such an upload or not.
    """
    key_id = caller.principal.key_id
    if key_id is None or await resumable.maker(upload_id) != key_id:
        caller.require("read")


SlideDep = Annotated[SlideInfo, Depends(own_slide)]
JobDep = Annotated[JobView, Depends(own_job)]
BatchesDep = Annotated[Batches, Depends(own_batch)]
OWN_SLIDE = Depends(own_slide)
OWN_JOB = Depends(own_stored_job)
JOB_HERE = Depends(job_here)
OWN_UPLOAD = Depends(own_upload)
MAY_GO_ON = Depends(may_go_on)
