"""Regions of interest, looked at before a slide is sent or a job is asked for."""

from fastapi import APIRouter
from pydantic import Field

from server.access.guards import CallerDep
from server.jobs import roi_check
from server.jobs.roi_check import RoiCheck
from server.routes.deps import StoreDep
from server.routes.path_deps import own_slide
from server.web.errors import error_responses
from workers.core.frozen import Frozen
from workers.core.roi.polygons import Roi

router = APIRouter(prefix="/v1/roi", tags=["jobs"])


class RoiQuestion(Frozen):
    """A region of interest that a job may be asked for."""

    roi: Roi
    slide_id: str | None = Field(default=None, description="The slide it is meant for.")


@router.post("/check", responses=error_responses(404, 413, 422))
def check_roi(question: RoiQuestion, store: StoreDep, caller: CallerDep) -> RoiCheck:
    """Tell what a job would make of a region of interest, and what may not be meant; nothing is kept."""
    slide = None if question.slide_id is None else own_slide(question.slide_id, store, caller)
    return roi_check.check_roi(question.roi, None if slide is None else slide.geometry)
