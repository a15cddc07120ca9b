"""Leaves of the tree in `workers.core.errors.base`: what can be wrong with correcting the objects of a job."""

from workers.core.errors.base import Conflict, Invalid, NotFound


class ObjectNotFound(NotFound):
    """The job has no object of this id, or none at the position that was given."""

    code = "object_not_found"


class OutlineInvalid(Invalid):
    """A drawn outline crosses itself, encloses nothing, or does not lie on the slide."""

    code = "outline_invalid"


class CorrectionsFull(Invalid):
    """The job has as many corrections as one may have."""

    code = "corrections_full"


class CorrectionsChanged(Conflict):
    """Somebody else has corrected the job since; look at what stands now, and correct that."""

    code = "corrections_changed"


class NotUndoable(Conflict):
    """This revision is taken back already, is such a taking back itself, or later ones are about the same objects."""

    code = "not_undoable"


class IndexNotReady(Conflict):
    """The index of the job's objects is being made; the same request works once it is."""

    code = "index_not_ready"
