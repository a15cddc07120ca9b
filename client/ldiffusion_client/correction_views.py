"""What the server says of corrections: of objects that somebody has judged, and of what changes by it.

Frames: boxes and geometries are level-0 px of the full plane.
"""

from datetime import datetime
from typing import Any, Literal

from ldiffusion_client.views import View

CorrectionState = Literal["accepted", "rejected", "relabelled", "redrawn", "added"]


class Author(View):
    """Who corrected: name of the key, or `local`; which key."""

    name: str
    key_id: str | None = None


class CorrectedObject(View):
    """An object that somebody has said something of, as it stands. `geometry` is GeoJSON; None of one too large."""

    id: str
    state: CorrectionState
    class_name: str
    class_index: int
    model_class_index: int | None = None
    area_um2: float
    box: tuple[float, float, float, float]
    geometry: dict[str, Any] | None = None
    revision: int
    author: Author
    at: datetime


class Corrections(View):
    """The corrected objects of a job, the latest revision, and the one that can be taken back next."""

    revision: int
    undoable: int | None = None
    items: tuple[CorrectedObject, ...]


class Corrected(View):
    """What a request changed: the revision it made, how its objects stand, ids of which nothing is said any more."""

    revision: int
    undoable: int | None = None
    items: tuple[CorrectedObject, ...]
    dropped: tuple[str, ...] = ()


class Revision(View):
    """What one request changed, or which revision it took back; changes as docs/corrections.md has them."""

    revision: int
    at: datetime
    author: Author
    undo: int | None = None
    changes: tuple[dict[str, Any], ...] = ()


class Amount(View):
    """How much there is of a class."""

    count: int | None = None
    mm2: float
    density_per_mm2: float | None = None


class Reviewed(View):
    """Objects of a class by what people said of them."""

    accepted: int
    rejected: int
    relabelled: int
    redrawn: int
    came: int
    added: int


class ClassWithCorrections(View):
    """One class, with the corrections and without them."""

    index: int
    name: str
    without: Amount
    corrected: Amount
    reviewed: Reviewed


class StatisticsWithCorrections(View):
    """What of a job's statistics the corrections change."""

    revision: int
    tissue_mm2: float
    classes: tuple[ClassWithCorrections, ...]
