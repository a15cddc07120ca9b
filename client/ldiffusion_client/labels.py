"""Labels of one's own on slides and jobs, and lists that are filtered by them, free of sockets."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypedDict, Unpack

from ldiffusion_client.methods import Method
from ldiffusion_client.protocol import Ask, M, Steps, listed, once, parsed
from ldiffusion_client.views import JobView, Page, SlideInfo


class SlideFilter(TypedDict, total=False):
    """Which slides to list: part of the name, labels that they all have, code of a warning, times."""

    name: str
    sha256: str
    labels: Mapping[str, str]
    warning: str
    since: datetime
    before: datetime


def params_of(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return a filter as parameters of an address."""
    labels = wanted.get("labels", {})
    times = {name: wanted[name].isoformat() for name in ("since", "before") if wanted.get(name) is not None}
    others = {name: value for name, value in wanted.items() if name not in ("labels", "since", "before")}
    return others | times | ({"label": [f"{key}:{value}" for key, value in labels.items()]} if labels else {})


class Labelling:
    """What both clients can do about labels, as steps."""

    @Method
    def slides(self, limit: int | None = None, **wanted: Unpack[SlideFilter]) -> Steps[list[SlideInfo]]:
        """Return the slides that pass a filter, the newest first, all of them unless there is a limit."""
        return listed("/v1/slides", Page[SlideInfo], limit, **params_of(wanted))

    @Method
    def label_slide(self, slide_id: str, labels: Mapping[str, str | None]) -> Steps[SlideInfo]:
        """Set labels of a slide, take away those that are None, and return it; labels that are not named stay.

        Raises:
            Refused: One is none, or they would be too many.
        """
        return _changed(f"/v1/slides/{slide_id}", SlideInfo, labels)

    @Method
    def label_job(self, job_id: str, labels: Mapping[str, str | None]) -> Steps[JobView]:
        """Set labels of a job, take away those that are None, and return it; labels that are not named stay.

        Raises:
            Refused: One is none, or they would be too many.
        """
        return _changed(f"/v1/jobs/{job_id}", JobView, labels)


def _changed(address: str, kind: type[M], labels: Mapping[str, str | None]) -> Steps[M]:
    return parsed(kind, (yield from once(Ask("PATCH", address, json={"labels": dict(labels)}))))
