"""The µm per pixel that a person gives for a stored slide: kept on it with its source, and taken by every later job."""

from datetime import UTC, datetime

from pydantic import Field

from workers.core.errors.base import MppImplausible
from workers.core.frozen import Frozen
from workers.core.schemas import Mpp
from workers.core.slide_schemas import FileMpp, SlideInfo
from workers.core.slides.resolution import MPP_MAX, MPP_MIN, is_plausible
from workers.core.store import Store, write_json


class SlideChange(Frozen):
    """What may be changed of a slide."""

    mpp: Mpp | None = Field(description="µm per level-0 px, in x and y; null takes what the file says again.")


def give_mpp(store: Store, slide_id: str, mpp: float | None) -> SlideInfo:
    """Keep the µm per pixel that a person gives, or take those of the file again.

    Args:
        store: Where the slide is.
        slide_id: The slide.
        mpp: µm per level-0 px; None for what the file says.

    Raises:
        SlideNotFound: There is no such slide.
        MppImplausible: No scanner makes such pixels.
    """
    if mpp is not None and not is_plausible(mpp):
        raise MppImplausible(
            "mpp: no scanner makes such pixels.", value=mpp, accepted=f"{MPP_MIN} to {MPP_MAX} µm per pixel"
        )
    info = with_mpp(store.read_slide(slide_id), mpp, datetime.now(UTC))
    write_json(store.slide_dir(slide_id) / "slide.json", info)
    return info


def with_mpp(info: SlideInfo, mpp: float | None, now: datetime) -> SlideInfo:
    """Return the record of a slide with the µm per pixel of a person, or of its file again."""
    names = ("mpp_x", "mpp_y", "mpp_origin", "implausible_mpp")
    source = info.file_mpp or info.geometry
    own = {name: getattr(source, name) for name in names}
    if mpp is None:
        return info.model_copy(update={"geometry": info.geometry.model_copy(update=own), "file_mpp": None})
    given = {"mpp_x": mpp, "mpp_y": mpp, "mpp_origin": "person", "implausible_mpp": None}
    return info.model_copy(
        update={
            "geometry": info.geometry.model_copy(update=given),
            "file_mpp": FileMpp(**own, replaced_at=now),
        }
    )
