"""`result.json`: what was made of what, by which versions, with the digest of every file."""

import importlib.metadata
import platform
from datetime import UTC, datetime

from workers.core.schemas import BadTile, Plan, Provenance
from workers.core.slide_schemas import SlideInfo, TrustWarning
from workers.core.slides.slide import Slide

VERSIONS_OF = (
    "ldiffusion-server",
    "numpy",
    "openslide-bin",
    "openslide-python",
    "tifffile",
    "tiffslide",
    "torch",
    "zarr",
)


def describe(
    slide: Slide,
    info: SlideInfo,
    plan: Plan,
    created_at: datetime,
    timings_s: dict[str, float],
    files: dict[str, str],
    sizes_bytes: dict[str, int],
    bad_tiles: tuple[BadTile, ...],
    warnings: tuple[TrustWarning, ...],
) -> Provenance:
    """Return the record of a job.

    Args:
        slide: The open slide.
        info: What is stored of it.
        plan: The job's plan.
        created_at: When the job was asked for.
        timings_s: Seconds per phase.
        files: File name → SHA-256.
        sizes_bytes: File name → size.
        bad_tiles: What could not be decoded.
        warnings: Why the result cannot be trusted as it is; those of the plan among them.
    """
    shared = plan.model_dump(include=set(Provenance.model_fields) - {"regions", "warnings"})
    return Provenance(
        **shared,
        slide_filename=info.filename,
        regions=len(plan.regions),
        backend=slide.backend,
        versions=versions(),
        timings_s=timings_s,
        files=files,
        sizes_bytes=sizes_bytes,
        bad_tiles=bad_tiles,
        warnings=warnings,
        created_at=created_at,
        finished_at=datetime.now(UTC),
    )


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that shape a result."""
    found = {"python": platform.python_version()}
    for name in VERSIONS_OF:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # a checkout that is not installed
            continue
    return found
