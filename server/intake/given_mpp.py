"""The µm per pixel that a person gives for a stored slide: kept on it with its source, and taken by every later job."""

from datetime import datetime

from workers.core.errors.base import MppImplausible
from workers.core.slide_schemas import FileMpp, SlideInfo
from workers.core.slides.resolution import MPP_MAX, MPP_MIN, is_plausible


def check_mpp(mpp: float) -> None:
    """Refuse µm per pixel that no scanner makes.

    Raises:
        MppImplausible.
    """
    if not is_plausible(mpp):
        raise MppImplausible(
            "mpp: no scanner makes such pixels.", value=mpp, accepted=f"{MPP_MIN} to {MPP_MAX} µm per pixel"
        )


def with_mpp(info: SlideInfo, mpp: float | None, now: datetime) -> SlideInfo:
    """Return the record of a slide with the µm per pixel of a person, or, for None, of its file again.

    Raises:
        MppImplausible: No scanner makes such pixels.
    """
    if mpp is not None:
        check_mpp(mpp)
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
