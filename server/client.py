"""A client of the server for programs that block; `server.async_client` has the one for programs that await.

with Client("http://127.0.0.1:8000") as client:
    slide = client.upload("slide.svs")
    job = client.wait(client.submit(slide.id, model="nuclei-tiny").id)
    client.download_results(job, "out")
"""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

from server import client_jobs, client_products, client_uploads
from server.access.signing import Link
from server.client_drivers import Driver
from server.client_jobs import JobFilter, JobOptions, SeenBatch, SeenJob
from server.client_protocol import PATIENCE_S, Ask, Page, Seen, listed, look, once, parsed
from server.jobs.batches import BatchView
from workers.core.products import ProductView
from workers.core.schemas import JobView, ModelCard, Provenance, SlideInfo


def unseen(*_progress: object) -> None:
    """Take no notice of progress."""


class Client:
    """The server at `url`. Every method raises `RemoteError`, or one of its kinds in `server.client_errors`.

    Args:
        url: Its address.
        key: What `ldiffusion keys create` printed, if the server asks for one; else `LDIFFUSION_KEY` is looked at.
        patience_s: How long a server that was there and does not answer is asked again.
        ca_file: Certificates to trust, PEM, of who signed the server's if they are your own; else
            `LDIFFUSION_CA_FILE` is looked at, and then those that everybody trusts.
    """

    def __init__(
        self, url: str, key: str | None = None, patience_s: float = PATIENCE_S, ca_file: str | Path | None = None
    ) -> None:
        self._driver = Driver(url, key, ca_file)
        self._run = self._driver.run
        self._patience_s = patience_s

    def upload(
        self, path: str | Path, *, name: str | None = None, resume: bool = True, progress: Seen = unseen
    ) -> SlideInfo:
        """Send a slide, and return it once the server has checked it.

        Args:
            path: The file; or `slide.mrxs` with its folder beside it, or a folder with one DICOM series: these are
                packed into a zip, which needs as much room among the temporary files.
            name: What it is to be called, if not as the file.
            resume: Go on with what the server has of the same bytes under the same name: an unfinished upload, or the
                slide that came of one. False: a new slide in any case.
            progress: Called with `packing`, `reading`, `sending` or `checking`, bytes done, bytes in all.

        Raises:
            Refused: It is no slide, or none that the server takes.
        """
        path = Path(path)
        return self._run(client_uploads.upload(path, name or path.name, progress, self._patience_s, resume=resume))

    def slide(self, slide_id: str) -> SlideInfo:
        """Return one slide."""
        return self._run(look(f"/v1/slides/{slide_id}", SlideInfo, self._patience_s))

    def slides(self, limit: int | None = None) -> list[SlideInfo]:
        """Return the slides, the newest first, all of them unless there is a limit."""
        return self._run(listed("/v1/slides", Page[SlideInfo], limit))

    def delete_slide(self, slide_id: str) -> None:
        """Delete a slide with its jobs and all that came of them.

        Raises:
            Busy: A job on it has not ended.
        """
        self._run(once(Ask("DELETE", f"/v1/slides/{slide_id}")))

    def models(self) -> list[ModelCard]:
        """Return the cards of the installed models."""
        return list(self._run(look("/v1/models", Page[ModelCard], self._patience_s)).items)

    def submit(self, slide_id: str, *, idempotency_key: str | None = None, **options: Unpack[JobOptions]) -> JobView:
        """Submit a job; `options` are the fields of docs/api.md.

        Raises:
            Refused: It can be known to fail.
        """
        return self._run(client_jobs.submit(slide_id, options, idempotency_key, self._patience_s))

    def job(self, job_id: str) -> JobView:
        """Return one job."""
        return self._run(look(f"/v1/jobs/{job_id}", JobView, self._patience_s))

    def jobs(self, limit: int | None = None, **wanted: Unpack[JobFilter]) -> list[JobView]:
        """Return the jobs that pass a filter, the newest first."""
        return self._run(client_jobs.list_jobs(limit, wanted))

    def wait(self, job_id: str, *, timeout_s: float | None = None, progress: SeenJob = unseen) -> JobView:
        """Follow a job until it has succeeded, and return it.

        Args:
            job_id: The job.
            timeout_s: Seconds to wait; None: as long as it takes.
            progress: Called with where the job stands, each time that is told.

        Raises:
            JobEnded: It failed or was canceled.
            TookTooLong: It has not ended in time.
        """
        return self._run(client_jobs.wait(job_id, progress, timeout_s, self._patience_s))

    def delete_job(self, job_id: str) -> JobView | None:
        """Cancel a job that has not ended and return it; delete one that has, with its results."""
        return self._run(client_jobs.delete_job(job_id))

    def record(self, job: JobView) -> Provenance:
        """Return `result.json` of a job: what its results were made of and with, and their digests."""
        return self._run(look(job.results["result"], Provenance, self._patience_s))

    def products(self, job_id: str) -> list[ProductView]:
        """Return what can be made of a job on request, and what is."""
        return list(self._run(look(f"/v1/jobs/{job_id}/products", Page[ProductView], self._patience_s)).items)

    def download(
        self,
        job_id: str,
        name: str,
        path: str | Path,
        *,
        timeout_s: float | None = None,
        progress: Seen = unseen,
        **params: str,
    ) -> Path:
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
        return self._run(
            client_products.download(job_id, name, Path(path), dict(params), progress, timeout_s, self._patience_s)
        )

    def download_results(
        self, job: JobView, folder: str | Path, *, products: Sequence[str] = (), progress: Seen = unseen
    ) -> list[str]:
        """Fetch all results of a job, and these products, into a folder; what is there already and right stays.

        Returns:
            Their names, `result.json` last.

        Raises:
            Damaged: Other bytes arrived than `result.json` says.
        """
        return self._run(client_products.download_results(job, Path(folder), products, progress, self._patience_s))

    def features(
        self,
        job_id: str,
        box: tuple[float, float, float, float] | None = None,
        *,
        class_name: str | None = None,
        limit: int = 1000,
        cursor: str | None = None,
    ) -> dict[str, Any]:
        """Return the polygons that touch a box `x0, y0, x1, y1` in level-0 px, as a GeoJSON FeatureCollection.

        `cursor` is `next_cursor` of the page before, for as long as there is one.
        """
        return self._run(client_products.find_features(job_id, box, class_name, limit, cursor, self._patience_s))

    def submit_batch(
        self, slide_ids: Sequence[str], *, idempotency_key: str | None = None, **options: Unpack[JobOptions]
    ) -> BatchView:
        """Submit a job for each slide. A slide that cannot have one is `refused` among the items."""
        return self._run(client_jobs.submit_batch(slide_ids, options, idempotency_key, self._patience_s))

    def batch(self, batch_id: str) -> BatchView:
        """Return one batch."""
        return self._run(look(f"/v1/batches/{batch_id}", BatchView, self._patience_s))

    def batches(self, limit: int | None = None) -> list[BatchView]:
        """Return the batches, the newest first."""
        return self._run(client_jobs.list_batches(limit))

    def wait_batch(self, batch_id: str, *, timeout_s: float | None = None, progress: SeenBatch = unseen) -> BatchView:
        """Wait until no job of a batch waits or runs, and return it. Jobs that failed are among its items."""
        return self._run(client_jobs.wait_batch(batch_id, progress, timeout_s, self._patience_s))

    def cancel_batch(self, batch_id: str, *, running: bool = False) -> BatchView:
        """Cancel the jobs of a batch that have not started; with `running`, those at work as well."""
        return self._run(client_jobs.cancel_batch(batch_id, running=running))

    def link(self, path: str, life_s: int = 600) -> str:
        """Return an address that needs no key, for `life_s` seconds, of a path below `/v1/`."""
        answer = self._run(once(Ask("POST", "/v1/links", json={"path": path, "life_s": life_s})))
        return str(self._driver.http.base_url.join(parsed(Link, answer).url))

    def close(self) -> None:
        """Let go of the connections."""
        self._driver.http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
