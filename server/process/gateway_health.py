"""Whether the gateway still answers: a process that hangs is there, and nobody but who asks it notices."""

import http.client
import threading
import time
from collections.abc import Callable

LOOK_S = 5.0
ANSWER_S = 10.0
HUNG_S = 60.0
"""Silence after which a gateway is taken for hung: a machine under load is slow, not dead."""


class GatewayHealth:
    """Asks the gateway from time to time, in a thread, whether it is there.

    Args:
        ask: Whether it answers; may take as long as it likes.
        look_s: Seconds between two questions.
        hung_s: Silence after which it hangs.
    """

    def __init__(self, ask: Callable[[], bool], look_s: float = LOOK_S, hung_s: float = HUNG_S) -> None:
        self._ask = ask
        self._look_s = look_s
        self._hung_s = hung_s
        self._heard_at = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="gateway-health", daemon=True)

    def start(self) -> None:
        """Begin to ask, from now on."""
        self._heard_at = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._ended.set()

    def hangs(self, started_at: float) -> bool:
        """Whether a gateway that was started at this time (monotonic, seconds) has been silent for too long."""
        return self._thread.is_alive() and time.monotonic() - max(self._heard_at, started_at) > self._hung_s

    def _look(self) -> None:
        while not self._ended.wait(self._look_s):
            if self._ask():
                self._heard_at = time.monotonic()


def answers(address: tuple[str, int], path: str, timeout_s: float = ANSWER_S, status: int | None = None) -> bool:
    """Whether anything answers at an address: with this status, or, if that is None, at all."""
    connection = http.client.HTTPConnection(*address, timeout=timeout_s)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == status or status is None
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
