"""Corrections of the objects of a job: methods of both clients, and their steps, free of sockets."""

from collections.abc import Mapping, Sequence
from typing import Any

from ldiffusion_client.correction_views import Corrected, Corrections, Revision, StatisticsWithCorrections
from ldiffusion_client.errors import Busy
from ldiffusion_client.methods import Method
from ldiffusion_client.protocol import Ask, RetryPolicy, Steps, look, parsed, retrying
from ldiffusion_client.views import View

HISTORY_PAGE = 100
INDEX_NOT_READY = "index_not_ready"
INDEX_S = 600.0
"""How long the index of a job's objects is waited for, which the first correction has made."""


class _History(View):
    items: tuple[Revision, ...]
    next_after: int | None = None


class CorrectionMethods:
    """What both clients can do with corrections. Every method raises `RemoteError`, or one of its kinds."""

    _patience_s: float

    @Method
    def corrections(self, job_id: str) -> Steps[Corrections]:
        """Return the objects of a job that somebody has judged, as they stand, and the latest revision."""
        return look(_address(job_id), Corrections, self._patience_s)

    @Method
    def correct(
        self, job_id: str, changes: Sequence[Mapping[str, Any]], *, revision: int | None = None
    ) -> Steps[Corrected]:
        """Accept, reject, relabel, redraw or add objects: all of it, or nothing.

        Args:
            job_id: The job.
            changes: As in docs/corrections.md, such as `{"action": "reject", "object": ID, "near": [x, y]}`.
            revision: The latest one that was seen; None: whatever is the latest now.

        Raises:
            Busy: Somebody else has corrected the job since (`corrections_changed`).
            Refused, Missing: A change cannot be kept, or is about no object.
        """
        return _changed(job_id, "", {"changes": [dict(each) for each in changes]}, revision, self._patience_s)

    @Method
    def undo_correction(self, job_id: str, undo: int, *, revision: int | None = None) -> Steps[Corrected]:
        """Take a revision back.

        Raises:
            Busy: Later ones are about its objects (`not_undoable`), or somebody has corrected the job since.
        """
        return _changed(job_id, "/undo", {"undo": undo}, revision, self._patience_s)

    @Method
    def correction_history(self, job_id: str) -> Steps[list[Revision]]:
        """Return every revision there ever was, the first one first."""
        return _history(job_id, self._patience_s)

    @Method
    def correction_statistics(self, job_id: str) -> Steps[StatisticsWithCorrections]:
        """Return counts, areas and densities of each class with and without corrections."""
        return look(f"{_address(job_id)}/statistics", StatisticsWithCorrections, self._patience_s)


def _address(job_id: str) -> str:
    return f"/v1/jobs/{job_id}/corrections"


def _changed(
    job_id: str, where: str, body: dict[str, Any], revision: int | None, patience_s: float
) -> Steps[Corrected]:
    """Send a change. Sent again after a lost answer it cannot count twice: the revision it begins with is past."""
    if revision is None:
        revision = (yield from look(_address(job_id), Corrections, patience_s)).revision
    asked = Ask("POST", f"{_address(job_id)}{where}", json=body | {"revision": revision})
    patience = RetryPolicy(INDEX_S)
    while True:
        try:
            return parsed(Corrected, (yield from retrying(asked, patience_s)))
        except Busy as error:
            if error.code != INDEX_NOT_READY:
                raise
            yield from patience.hold(error)


def _history(job_id: str, patience_s: float) -> Steps[list[Revision]]:
    found: list[Revision] = []
    after: int | None = 0
    while after is not None:
        address = f"{_address(job_id)}/history"
        page = yield from look(address, _History, patience_s, after=after, limit=HISTORY_PAGE)
        found += page.items
        after = page.next_after
    return found
