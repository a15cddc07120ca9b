"""Why a slide does not come in, beside what its bytes say: leaves of the tree in `workers.core.errors.base`."""

from workers.core.errors.base import Invalid, Unavailable


class ArchiveRefused(Invalid):
    """The archive breaks a rule: names, links, sizes, or how it is packed."""

    code = "archive_refused"


class SlideSetIncomplete(Invalid):
    """A slide of several files came without some of them, or with more than one slide."""

    code = "slide_set_incomplete"


class DeidentifyRefused(Invalid):
    """Slides are to be stripped of what identifies a patient, and this one cannot be."""

    code = "deidentify_refused"


class ImportRefused(Invalid):
    """The server does not fetch from there, or what it found there is not what it takes."""

    code = "import_refused"


class ReaderOutdated(Unavailable):
    """The library that reads slides has known faults; no process starts with it."""

    code = "reader_outdated"


class ConfinementFailed(Unavailable):
    """This system does not let a child that looks at slides lock itself in; none is looked at."""

    code = "confinement_failed"


class TileLate(Unavailable):
    """No child decoded this part of the slide in time: the machine was busy with other things."""

    code = "tile_late"
