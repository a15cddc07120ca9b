"""Who looked at which slide: one line of the audit log for each key, slide and hour, however many tiles were read.

A whole slide can be taken away tile by tile. A line for each tile would be a flood, and none would be no trace.
"""

import re
from collections import OrderedDict

from server.access.limits import BUCKETS_MAX
from server.access.principals import Principal

HOUR_S = 3600.0
PICTURE = re.compile(r"(/v1/(?:slides|jobs)/[0-9a-f]{32})/(?:(?:slide|overlay|live)_files/.*|thumbnail\.jpeg)")
SEEN = (200, 206, 304)
"""304 as well: whoever has the tile already looks at it now."""

Name = tuple[str, str, str]


def viewed_by(principal: Principal | None, method: str, path: str, status: int | None) -> Name | None:
    """Return who sees which slide or job by this answer; None if nobody sees a picture by it.

    Args:
        principal: Who asks. The links of one tenant count as one.
        method: Of the request.
        path: Of the request, without its query.
        status: Of the answer.
    """
    found = PICTURE.fullmatch(path) if method == "GET" and status in SEEN and principal is not None else None
    if found is None or principal is None:
        return None
    return principal.means, principal.key_id or principal.tenant, found[1]


class Views:
    """What was seen within the hour.

    Args:
        most: Pairs that are remembered; one that is forgotten has another line.
    """

    def __init__(self, most: int = BUCKETS_MAX) -> None:
        self._most = most
        self._begun: OrderedDict[Name, float] = OrderedDict()

    def is_first(self, name: Name, now: float) -> bool:
        """Whether this is the first look of an hour, which begins now.

        Args:
            name: Who sees what.
            now: Seconds of a clock that never goes back.
        """
        begun = self._begun.get(name)
        if begun is not None and now - begun < HOUR_S:
            return False
        self._begun.pop(name, None)
        self._begun[name] = now
        if len(self._begun) > self._most:
            self._begun.popitem(last=False)
        return True
