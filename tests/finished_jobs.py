"""A job with results that nobody had to make, put into a store."""

import hashlib
from datetime import UTC, datetime

from workers.core.schemas import JobRequest, Provenance
from workers.core.store import Store

MOMENT = datetime(2026, 1, 2, tzinfo=UTC)
STATISTICS = b'{"tissue_mm2": 1.0, "slide_mm2": 2.0, "classes": []}'
FILES = {"overlay.ome.tif": b"o" * 3_000_000, "regions.geojson.gz": b"gzip", "statistics.json": STATISTICS}
UNSERVED = {"plan.json": "0" * 64, "../../escape": "0" * 64}
"""Stands in `result.json` and is no result that a client can ask for, or that it may write."""


def finished_job(store: Store, request: JobRequest | None = None, model_digest: str = "made") -> str:
    """Put a job with `FILES` as its results into the store, and return its id."""
    job_id = store.new_id()
    store.save_request(job_id, request or JobRequest(slide_id="1" * 32, model="made-model"), MOMENT)
    for name, content in FILES.items():
        (store.job_dir(job_id) / name).write_bytes(content)
    numbers = {"mpp_x": 0.5, "mpp_y": 0.5, "model_mpp": 0.5, "seed": 0, "region_px": 512, "halo_px": 64, "regions": 1}
    texts = dict.fromkeys(("slide_sha256", "slide_filename", "model", "backend"), "made")
    provenance = Provenance.model_validate(
        numbers
        | texts
        | {"job_id": job_id, "slide_id": "1" * 32, "mpp_source": "metadata", "versions": {}, "timings_s": {}}
        | {"model_digest": model_digest, "created_at": MOMENT, "finished_at": MOMENT}
        | {"files": {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()} | UNSERVED}
    )
    store.write_json(store.job_dir(job_id) / "result.json", provenance)
    return job_id
