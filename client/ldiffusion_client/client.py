"""The clients: `Client` for programs that block, `AsyncClient` for those that await, with the same methods.

with Client("http://127.0.0.1:8000") as client:
    slide = client.upload("slide.svs")
    job = client.wait(client.submit(slide.id, model="nuclei").id)
    client.download_results(job, "out")

async with AsyncClient("http://127.0.0.1:8000") as client:
    slide = await client.upload("slide.svs")
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack
from urllib.parse import urljoin

from ldiffusion_client import jobs as job_steps
from ldiffusion_client import products as product_steps
from ldiffusion_client import uploads as upload_steps
from ldiffusion_client.cohorts import CohortMethods
from ldiffusion_client.corrections import CorrectionMethods
from ldiffusion_client.jobs import JobFilter, JobSubmission, SeenBatch, SeenJob
from ldiffusion_client.labels import Labelling
from ldiffusion_client.methods import Awaiting, Blocking, Method
from ldiffusion_client.protocol import PATIENCE_S, Ask, Seen, Steps, look, once, parsed
from ldiffusion_client.records import Provenance, RoiCheck
from ldiffusion_client.server_methods import ServerMethods
from ldiffusion_client.views import BatchView, JobView, Link, Page, ProductView, SlideInfo


def unseen(*_progress: object) -> None:
    """Take no notice of progress."""


class Methods(CorrectionMethods, CohortMethods, Labelling, ServerMethods):
    """What both clients can do, as steps. Every method raises `RemoteError`, or one of its kinds in `errors`.

    Args:
        url: Address of the server.
        patience_s: How long a server that was there and does not answer is asked again.
    """

    def __init__(self, url: str, patience_s: float) -> None:
        super().__init__(patience_s)
        self._url = url

    @Method
    def upload(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        resume: bool = True,
        progress: Seen = unseen,
    ) -> Steps[SlideInfo]:
        """Send a slide, and return it once the server has checked it.

        Args:
            path: The file; or `slide.mrxs` with its folder beside it, or a folder with one DICOM series: these are
                packed into a zip, which needs as much room among the temporary files.
            name: What it is to be called, if not as the file.
            labels: Of your own, `case` or `block`; of a slide or upload that is there already they stay as they are.
            resume: Go on with what the server has of the same bytes under the same name: an unfinished upload, or the
                slide that came of one. False: a new slide in any case.
            progress: Called with `packing`, `reading`, `sending` or `checking`, bytes done, bytes in all.

        Raises:
            Refused: It is no slide, or none that the server takes.
        """
        path = Path(path)
        return upload_steps.upload(path, name or path.name, labels or {}, progress, self._patience_s, resume=resume)

    @Method
    def slide(self, slide_id: str) -> Steps[SlideInfo]:
        """Return one slide."""
        return look(f"/v1/slides/{slide_id}", SlideInfo, self._patience_s)

    @Method
    def delete_slide(self, slide_id: str) -> Steps[None]:
        """Delete a slide with its jobs and all that came of them.

        Raises:
            Busy: A job on it has not ended.
        """
        yield from once(Ask("DELETE", f"/v1/slides/{slide_id}"))

    @Method
    def check_roi(self, roi: Any, slide_id: str | None = None) -> Steps[RoiCheck]:
        """Return what a job would make of a region of interest; with a slide, also whether that has any of it.

        Raises:
            Refused: It is none, or holds nothing of the slide.
        """
        return job_steps.check_roi(roi, slide_id, self._patience_s)

    @Method
    def submit(
        self, slide_id: str, *, idempotency_key: str | None = None, **options: Unpack[JobSubmission]
    ) -> Steps[JobView]:
        """Submit a job; `options` are the fields of docs/api.md.

        Raises:
            Refused: It can be known to fail.
        """
        return job_steps.submit(slide_id, options, idempotency_key, self._patience_s)

    @Method
    def job(self, job_id: str) -> Steps[JobView]:
        """Return one job."""
        return look(f"/v1/jobs/{job_id}", JobView, self._patience_s)

    @Method
    def jobs(self, limit: int | None = None, **wanted: Unpack[JobFilter]) -> Steps[list[JobView]]:
        """Return the jobs that pass a filter, the newest first."""
        return job_steps.list_jobs(limit, wanted)

    @Method
    def wait(self, job_id: str, *, timeout_s: float | None = None, progress: SeenJob = unseen) -> Steps[JobView]:
        """Follow a job until it has succeeded, and return it.

        Args:
            job_id: The job.
            timeout_s: Seconds to wait; None: as long as it takes.
            progress: Called with where the job stands, each time that is told.

        Raises:
            JobEnded: It failed or was canceled.
            TookTooLong: It has not ended in time.
        """
        return job_steps.wait(job_id, progress, timeout_s, self._patience_s)

    @Method
    def delete_job(self, job_id: str) -> Steps[JobView | None]:
        """Cancel a job that has not ended and return it; delete one that has, with its results."""
        return job_steps.delete_job(job_id)

    @Method
    def record(self, job: JobView) -> Steps[Provenance]:
        """Return `result.json` of a job: what its results were made of and with, and their digests."""
        return look(job.results["result"], Provenance, self._patience_s)

    @Method
    def products(self, job_id: str) -> Steps[list[ProductView]]:
        """Return what can be made of a job on request, and what is."""
        return list((yield from look(f"/v1/jobs/{job_id}/products", Page[ProductView], self._patience_s)).items)

    @Method
    def download(
        self,
        /,  # so that also `self` could be a parameter of the address
        job_id: str,
        name: str,
        path: str | Path,
        *,
        timeout_s: float | None = None,
        progress: Seen = unseen,
        **params: str,
    ) -> Steps[Path]:
        """Fetch a result or product of a job to `path`; what is not made yet is waited for.

        Args:
            job_id: The job.
            name: As in docs/outputs.md. `labels.ome.zarr` becomes a folder.
            path: Where to. All of it arrives and is right, or nothing stays there.
            timeout_s: Seconds to wait until it is made.
            progress: Called with the name, bytes (of a folder: chunks) done, and in all.
            params: Of the address, for example `space="qupath"`.

        Raises:
            Refused, Missing: It cannot be made of this job.
            Damaged: Other bytes arrived.
        """
        return product_steps.download(job_id, name, Path(path), dict(params), progress, timeout_s, self._patience_s)

    @Method
    def download_results(
        self, job: JobView, folder: str | Path, *, products: Sequence[str] = (), progress: Seen = unseen
    ) -> Steps[list[str]]:
        """Fetch all results of a job, and these products, into a folder; what is there already and right stays.

        Returns:
            Their names, `result.json` last.

        Raises:
            Damaged: Other bytes arrived than `result.json` says.
        """
        return product_steps.download_results(job, Path(folder), products, progress, self._patience_s)

    @Method
    def features(
        self,
        job_id: str,
        box: tuple[float, float, float, float] | None = None,
        *,
        class_name: str | None = None,
        limit: int = 1000,
        cursor: str | None = None,
    ) -> Steps[dict[str, Any]]:
        """Return the polygons that touch a box `x0, y0, x1, y1` in level-0 px, as a GeoJSON FeatureCollection.

        `cursor` is `next_cursor` of the page before, for as long as there is one.
        """
        return product_steps.find_features(job_id, box, class_name, limit, cursor, self._patience_s)

    @Method
    def submit_batch(
        self, slide_ids: Sequence[str], *, idempotency_key: str | None = None, **options: Unpack[JobSubmission]
    ) -> Steps[BatchView]:
        """Submit a job for each slide. A slide that cannot have one is `refused` among the items."""
        return job_steps.submit_batch(slide_ids, options, idempotency_key, self._patience_s)

    @Method
    def batch(self, batch_id: str) -> Steps[BatchView]:
        """Return one batch."""
        return look(f"/v1/batches/{batch_id}", BatchView, self._patience_s)

    @Method
    def batches(self, limit: int | None = None) -> Steps[list[BatchView]]:
        """Return the batches, the newest first."""
        return job_steps.list_batches(limit)

    @Method
    def wait_batch(
        self, batch_id: str, *, timeout_s: float | None = None, progress: SeenBatch = unseen
    ) -> Steps[BatchView]:
        """Wait until no job of a batch waits or runs, and return it. Jobs that failed are among its items."""
        return job_steps.wait_batch(batch_id, progress, timeout_s, self._patience_s)

    @Method
    def cancel_batch(self, batch_id: str, *, running: bool = False) -> Steps[BatchView]:
        """Cancel the jobs of a batch that have not started; with `running`, those at work as well."""
        return job_steps.cancel_batch(batch_id, running=running)

    @Method
    def delete_batch(self, batch_id: str, *, jobs: bool = False) -> Steps[BatchView | None]:
        """Cancel what has not started of a batch and return it; delete one of which nothing waits or runs.

        With `jobs`, cancel all of its jobs and delete them and the batch, whatever they are at; else jobs stay.
        """
        return job_steps.delete_batch(batch_id, jobs=jobs)

    @Method
    def link(self, path: str, life_s: int = 600) -> Steps[str]:
        """Return an address that needs no key, for `life_s` seconds, of a path below `/v1/`."""
        answer = yield from once(Ask("POST", "/v1/links", json={"path": path, "life_s": life_s}))
        return urljoin(self._url, parsed(Link, answer).url)


class Client(Methods, Blocking):
    """The server at `url`, for programs that block. Every method raises `RemoteError`, or one of its kinds.

    Args:
        url: Its address.
        key: What `ldiffusion keys create` printed, if the server asks for one; else `LDIFFUSION_KEY` is looked at.
        patience_s: How long a server that was there and does not answer is asked again.
        ca_file: Certificates to trust, PEM, of who signed the server's if they are your own; else
            `LDIFFUSION_CA_FILE` is looked at, and then those that everybody trusts.

    Raises:
        Refused: Address, key or file of certificates are none.
    """

    def __init__(
        self, url: str, key: str | None = None, patience_s: float = PATIENCE_S, ca_file: str | Path | None = None
    ) -> None:
        from ldiffusion_client.drivers import Driver  # noqa: PLC0415 - httpx takes as long to import as all else

        Methods.__init__(self, url, patience_s)
        Blocking.__init__(self, Driver(url, key, ca_file))


class AsyncClient(Methods, Awaiting):
    """The same for programs that await; see `Client`. A callback for progress is called in the event loop."""

    def __init__(
        self, url: str, key: str | None = None, patience_s: float = PATIENCE_S, ca_file: str | Path | None = None
    ) -> None:
        from ldiffusion_client.drivers import AsyncDriver  # noqa: PLC0415 - see Client

        Methods.__init__(self, url, patience_s)
        Awaiting.__init__(self, AsyncDriver(url, key, ca_file))
