"""Refusals: the first is told at once, the others of a minute as one number.

Each line of the audit log waits for the disk and stays for good. Whoever is refused must not decide how many there are,
with a key or without.
"""

from collections import OrderedDict
from dataclasses import dataclass

from server.access.audit import Event
from server.access.limits import BUCKETS_MAX, block_of

WINDOW_S = 60.0


@dataclass(slots=True)
class _Window:
    first: Event
    begun_at: float
    more: int = 0


class DeniedRequests:
    """Counts by code and by who was refused: a key, the links of a tenant, else an address (of IPv6, a block).

    Args:
        most: Of these that are remembered; of the one that is forgotten, the number is told.
    """

    def __init__(self, most: int = BUCKETS_MAX) -> None:
        self._most = most
        self._windows: OrderedDict[tuple[str, str | None], _Window] = OrderedDict()

    def lines(self, event: Event, now: float) -> list[Event]:
        """Return what the log says now that this was refused.

        Args:
            event: The refusal.
            now: Seconds of a clock that never goes back.
        """
        name = _who(event), event.code
        window = self._windows.get(name)
        if window is not None and now - window.begun_at < WINDOW_S:
            window.more += 1
            return []
        ended = [self._windows.pop(name)] if window is not None else []
        if len(self._windows) >= self._most:
            ended.append(self._windows.popitem(last=False)[1])
        self._windows[name] = _Window(event, now)
        return [*_told(ended), event]

    def ended(self, now: float) -> list[Event]:
        """Return the numbers of all minutes that are over, which are forgotten.

        Args:
            now: As above; infinite for all.
        """
        over = [name for name, window in self._windows.items() if now - window.begun_at >= WINDOW_S]
        return _told([self._windows.pop(name) for name in over])


def _who(event: Event) -> str:
    known = event.key_id or event.tenant
    return f"{event.by} {known}" if known else block_of(event.remote or "")


def _told(windows: list[_Window]) -> list[Event]:
    return [
        Event(
            action="refusal",
            by=window.first.by,
            tenant=window.first.tenant,
            key_id=window.first.key_id,
            remote=window.first.remote,
            status=window.first.status,
            code=window.first.code,
            detail=f"{window.more} more of the kind within {WINDOW_S:g} s",
        )
        for window in windows
        if window.more
    ]
