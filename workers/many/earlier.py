"""What an earlier run left: whether a folder is complete, and holds what is asked for now."""

from pathlib import Path

from workers import stages
from workers.core.digests import sha256_of
from workers.core.errors.base import RequestInvalid
from workers.core.model.schemas import ModelCard
from workers.core.schemas import JobRequest, Plan, Provenance

ACCEPTED = "another output folder, or --overwrite"


def is_complete(out: Path) -> bool:
    """Whether the results of a slide are there."""
    return (out / stages.RESULT).exists()


def require_same_question(out: Path, request: JobRequest, card: ModelCard) -> None:
    """Check that a complete folder answers this question.

    Raises:
        RequestInvalid: It answers another.
    """
    record = Provenance.model_validate_json((out / stages.RESULT).read_bytes())
    plan = stages.read_plan(out)
    if plan is None:
        raise RequestInvalid("The results of a slide came without their plan.", value=out, accepted=ACCEPTED)
    differs = [name for name, (then, now) in _compared(plan, record, request, card).items() if then != now]
    if differs:
        told = f"The results of {out.name} are of another question: other {', '.join(differs)}."
        raise RequestInvalid(told, value=out, accepted=ACCEPTED)


def require_same_slide(out: Path, path: Path) -> None:
    """Check that a complete folder is of this file, by its SHA-256.

    Raises:
        RequestInvalid: It is of other bytes.
    """
    record = Provenance.model_validate_json((out / stages.RESULT).read_bytes())
    if sha256_of(path) != record.slide_sha256:
        raise RequestInvalid(f"The slide {out.name} has changed since its results.", value=path, accepted=ACCEPTED)


def _compared(plan: Plan, record: Provenance, request: JobRequest, card: ModelCard) -> dict[str, tuple[object, object]]:
    """Return what decides the results, as it was then and as it is asked for now."""
    return {
        "model": ((record.model, record.model_digest), (card.name, card.digest)),
        "mpp": (plan.mpp_x if plan.mpp_source == "request" else None, request.mpp),
        "seed": (plan.seed, request.seed),
        "tissue": (plan.tissue, request.tissue),
        "roi": (plan.roi, request.roi),
        "image": (plan.image, request.image),
        "on-bad-tile": (plan.on_bad_tile, request.on_bad_tile),
        "quality": (plan.layer, request.quality),
        "exclude-quality": (plan.exclude_quality, request.exclude_quality),
    }
