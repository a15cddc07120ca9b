"""The client of `server.client` for programs that await: the same methods, arguments and errors.

async with AsyncClient("http://127.0.0.1:8000") as client:
    slide = await client.upload("slide.svs")
"""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

from server import client_jobs, client_products, client_uploads
from server.access.signing import Link
from server.client import unseen
from server.client_drivers import AsyncDriver
from server.client_jobs import JobFilter, JobOptions, SeenBatch, SeenJob
from server.client_protocol import PATIENCE_S, Ask, Page, Seen, listed, look, once, parsed
from server.jobs.batches import BatchView
from workers.core.products import ProductView
from workers.core.schemas import JobView, ModelCard, Provenance, SlideInfo


class AsyncClient:
    """The server at `url`; see `server.client.Client`. A callback for progress is called in the event loop."""

    def __init__(
        self, url: str, key: str | None = None, patience_s: float = PATIENCE_S, ca_file: str | Path | None = None
    ) -> None:
        self._driver = AsyncDriver(url, key, ca_file)
        self._run = self._driver.run
        self._patience_s = patience_s

    async def upload(
        self, path: str | Path, *, name: str | None = None, resume: bool = True, progress: Seen = unseen
    ) -> SlideInfo:
        """Send a slide, and return it once the server has checked it."""
        path = Path(path)
        return await self._run(
            client_uploads.upload(path, name or path.name, progress, self._patience_s, resume=resume)
        )

    async def slide(self, slide_id: str) -> SlideInfo:
        """Return one slide."""
        return await self._run(look(f"/v1/slides/{slide_id}", SlideInfo, self._patience_s))

    async def slides(self, limit: int | None = None) -> list[SlideInfo]:
        """Return the slides, the newest first, all of them unless there is a limit."""
        return await self._run(listed("/v1/slides", Page[SlideInfo], limit))

    async def delete_slide(self, slide_id: str) -> None:
        """Delete a slide with its jobs and all that came of them."""
        await self._run(once(Ask("DELETE", f"/v1/slides/{slide_id}")))

    async def models(self) -> list[ModelCard]:
        """Return the cards of the installed models."""
        return list((await self._run(look("/v1/models", Page[ModelCard], self._patience_s))).items)

    async def submit(
        self, slide_id: str, *, idempotency_key: str | None = None, **options: Unpack[JobOptions]
    ) -> JobView:
        """Submit a job; `options` are the fields of docs/api.md."""
        return await self._run(client_jobs.submit(slide_id, options, idempotency_key, self._patience_s))

    async def job(self, job_id: str) -> JobView:
        """Return one job."""
        return await self._run(look(f"/v1/jobs/{job_id}", JobView, self._patience_s))

    async def jobs(self, limit: int | None = None, **wanted: Unpack[JobFilter]) -> list[JobView]:
        """Return the jobs that pass a filter, the newest first."""
        return await self._run(client_jobs.list_jobs(limit, wanted))

    async def wait(self, job_id: str, *, timeout_s: float | None = None, progress: SeenJob = unseen) -> JobView:
        """Follow a job until it has succeeded, and return it."""
        return await self._run(client_jobs.wait(job_id, progress, timeout_s, self._patience_s))

    async def delete_job(self, job_id: str) -> JobView | None:
        """Cancel a job that has not ended and return it; delete one that has, with its results."""
        return await self._run(client_jobs.delete_job(job_id))

    async def record(self, job: JobView) -> Provenance:
        """Return `result.json` of a job: what its results were made of and with, and their digests."""
        return await self._run(look(job.results["result"], Provenance, self._patience_s))

    async def products(self, job_id: str) -> list[ProductView]:
        """Return what can be made of a job on request, and what is."""
        return list((await self._run(look(f"/v1/jobs/{job_id}/products", Page[ProductView], self._patience_s))).items)

    async def download(
        self,
        job_id: str,
        name: str,
        path: str | Path,
        *,
        timeout_s: float | None = None,
        progress: Seen = unseen,
        **params: str,
    ) -> Path:
        """Fetch a result or product of a job to `path`; what is not made yet is waited for."""
        return await self._run(
            client_products.download(job_id, name, Path(path), dict(params), progress, timeout_s, self._patience_s)
        )

    async def download_results(
        self, job: JobView, folder: str | Path, *, products: Sequence[str] = (), progress: Seen = unseen
    ) -> list[str]:
        """Fetch all results of a job, and these products, into a folder; what is there already and right stays."""
        return await self._run(
            client_products.download_results(job, Path(folder), products, progress, self._patience_s)
        )

    async def features(
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
        return await self._run(client_products.find_features(job_id, box, class_name, limit, cursor, self._patience_s))

    async def submit_batch(
        self, slide_ids: Sequence[str], *, idempotency_key: str | None = None, **options: Unpack[JobOptions]
    ) -> BatchView:
        """Submit a job for each slide. A slide that cannot have one is `refused` among the items."""
        return await self._run(client_jobs.submit_batch(slide_ids, options, idempotency_key, self._patience_s))

    async def batch(self, batch_id: str) -> BatchView:
        """Return one batch."""
        return await self._run(look(f"/v1/batches/{batch_id}", BatchView, self._patience_s))

    async def batches(self, limit: int | None = None) -> list[BatchView]:
        """Return the batches, the newest first."""
        return await self._run(client_jobs.list_batches(limit))

    async def wait_batch(
        self, batch_id: str, *, timeout_s: float | None = None, progress: SeenBatch = unseen
    ) -> BatchView:
        """Wait until no job of a batch waits or runs, and return it. Jobs that failed are among its items."""
        return await self._run(client_jobs.wait_batch(batch_id, progress, timeout_s, self._patience_s))

    async def cancel_batch(self, batch_id: str, *, running: bool = False) -> BatchView:
        """Cancel the jobs of a batch that have not started; with `running`, those at work as well."""
        return await self._run(client_jobs.cancel_batch(batch_id, running=running))

    async def link(self, path: str, life_s: int = 600) -> str:
        """Return an address that needs no key, for `life_s` seconds, of a path below `/v1/`."""
        answer = await self._run(once(Ask("POST", "/v1/links", json={"path": path, "life_s": life_s})))
        return str(self._driver.http.base_url.join(parsed(Link, answer).url))

    async def close(self) -> None:
        """Let go of the connections."""
        await self._driver.http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
