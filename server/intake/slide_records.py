"""Changes of the record of a stored slide: one at a time, so that none undoes another."""

import fcntl
import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Self

from pydantic import Field, model_validator

from server.intake.given_mpp import with_mpp
from workers.core.frozen import Frozen
from workers.core.own_labels import LabelChanges, changed
from workers.core.schemas import Mpp
from workers.core.slide_schemas import SlideInfo
from workers.core.store import Store, slide_missing
from workers.core.stored.slides import publish_record, require_own_slide


class SlideChange(Frozen):
    """What may be changed of a slide. What is not named stays."""

    mpp: Mpp | None = Field(
        default=None, description="µm per level-0 px, in x and y; null takes what the file says again."
    )
    labels: LabelChanges = Field(default={})

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("mpp, or labels")
        return self

    def applied(self, info: SlideInfo) -> SlideInfo:
        """Return the record of a slide with these changes.

        Raises:
            RequestInvalid: It would have too many labels.
        """
        if "mpp" in self.model_fields_set:
            info = with_mpp(info, self.mpp, datetime.now(UTC))
        return info.model_copy(update={"labels": changed(info.labels, self.labels)})


def change_slide(store: Store, slide_id: str, change: Callable[[SlideInfo], SlideInfo]) -> SlideInfo:
    """Read the record of a slide, change it and write it, while nobody else does; return what it says now.

    Raises:
        SlideNotFound: There is no such slide.
        OnAnotherHost: Its truth lies in another data folder.
        DiskFull: The disk had no room.
        OSError: The storage does not take it.
    """
    require_own_slide(store, slide_id)
    folder = store.slide_dir(slide_id)
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        raise slide_missing(slide_id) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            info = change(store.read_slide(slide_id))
            publish_record(store, info)  # first: what the storage does not take is not changed here
            store.write_json(folder / "slide.json", info)
        except FileNotFoundError:  # deleted meanwhile
            raise slide_missing(slide_id) from None
        return info
    finally:
        os.close(descriptor)
