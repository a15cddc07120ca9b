"""The same request sent twice makes one job: a key is remembered with what it asked for and what it made."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from pydantic import BaseModel

from workers.core.errors.base import QueueUnavailable, RequestInvalid
from workers.core.errors.jobs import KeyInUse, KeyReused
from workers.core.frozen import LOCAL_TENANT
from workers.core.queue.exchange import answering
from workers.core.queue.jobs import Jobs

KEY_TTL_S = 24 * 3600
"""How long a key is remembered."""

KEY_CHARS_MAX = 255

TURN_S = 15.0
"""How long a turn outlives its gateway; then another request goes on with what it began. A living one renews it."""

WAIT_S = 5.0
"""How long a request waits for its turn while another with the same key is at work."""


class Reservation:
    """One key, of one kind of request.

    Args:
        jobs: The queue.
        kind: `job` or `batch`.
        key: As the client sent it.
        request: What it asks for.
        tenant: Who sent it: another's key of the same text is another key.

    Raises:
        RequestInvalid: The key is empty, too long, or not of visible ASCII characters.
    """

    def __init__(self, jobs: Jobs, kind: str, key: str, request: BaseModel, tenant: str = LOCAL_TENANT) -> None:
        if not 0 < len(key) <= KEY_CHARS_MAX or not all("!" <= character <= "~" for character in key):
            raise RequestInvalid(
                "Idempotency-Key: it has to be of visible ASCII characters.",
                value=key[:KEY_CHARS_MAX],
                accepted=f"1 to {KEY_CHARS_MAX} of them",
            )
        self._redis = jobs.redis
        self._name = f"ldiffusion:key:{kind}:{hashlib.sha256(f'{tenant} {key}'.encode()).hexdigest()}"
        self._asked = hashlib.sha256(request.model_dump_json().encode()).hexdigest()
        self._key = key

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Have no other request with this key at work while the context lasts: the second one sees what the first did.

        Raises:
            KeyInUse: Another is at work, for longer than one waits here.
            QueueUnavailable: Redis does not answer.
        """
        lock = self._redis.lock(f"{self._name}:turn", timeout=TURN_S, thread_local=False)
        with answering():
            has_turn = lock.acquire(blocking_timeout=WAIT_S)
        if not has_turn:
            raise KeyInUse(
                "Idempotency-Key: a request with it is still being worked on.",
                value=self._key,
                accepted="the same request again, later",
            )
        over = threading.Event()
        renewing = threading.Thread(target=_keep, args=(lock.reacquire, over), daemon=True)
        renewing.start()
        try:
            yield
        finally:
            over.set()
            renewing.join()  # else it might renew what another has by now
            with suppress(QueueUnavailable), answering():  # Redis is gone, or was: the turn ends by itself
                lock.release()

    def take(self, fresh_id: str) -> str:
        """Return the id that this key stands for: the fresh one, or that of the first request with it.

        Raises:
            KeyReused: The first request asked for something else.
            QueueUnavailable: Redis does not answer.
        """
        with answering():
            held = self._redis.set(self._name, f"{fresh_id} {self._asked}", nx=True, get=True, ex=KEY_TTL_S)
        if held is None:
            return fresh_id
        made_id, _, asked = held.decode().partition(" ")
        if asked != self._asked:
            raise KeyReused(
                "Idempotency-Key: it was sent before, with another request.",
                value=self._key,
                accepted="the same request again, or another key",
            )
        return str(made_id)

    def release(self) -> None:
        """Forget the key: nothing came of its request. For whoever has its turn."""
        with answering():
            self._redis.delete(self._name)


def _keep(renew: Callable[[], object], over: threading.Event) -> None:
    """Keep a turn for as long as its request is at work: the disk may be slow, a batch large."""
    while not over.wait(TURN_S / 3):
        with suppress(QueueUnavailable), answering():
            renew()
