"""What arrives of a long chunk is acknowledged to itself now and then: so much is lost when the server is killed.

The disk and the line work at the same time: more comes in while what came before is brought to the disk.

"""

import asyncio
from collections.abc import Callable
from time import monotonic

from anyio import to_thread

from server.uploads.records import Upload

CHECKPOINT_BYTES = 16 * 2**20
CHECKPOINT_S = 5.0
BEHIND_MAX_BYTES = 128 * 2**20
"""What a slow disk may be behind; above, the line waits for it."""


class Checkpoints:
    """The checkpoints of one chunk, one after the other.

    Args:
        acknowledge: Brings all that is written to the disk, and says so; blocks.
        upload: As it is before.
    """

    def __init__(self, acknowledge: Callable[[Upload], Upload], upload: Upload) -> None:
        self._acknowledge = acknowledge
        self._upload = upload
        self._task: asyncio.Task[Upload] | None = None
        self._done_at = monotonic()

    async def tend(self, waiting_bytes: int) -> None:
        """Begin the next one if it is due and the last one has ended.

        Args:
            waiting_bytes: What has arrived and is not on the disk yet.

        Raises:
            DiskFull: The last one failed.
        """
        if self._task is not None:
            if not self._task.done() and waiting_bytes < BEHIND_MAX_BYTES:
                return
            self._upload = await self._task
            self._task, self._done_at = None, monotonic()
        elif _is_due(waiting_bytes, monotonic() - self._done_at):
            self._task = asyncio.create_task(to_thread.run_sync(self._acknowledge, self._upload))

    async def end(self) -> Upload:
        """Wait for the last one; return the upload as it was acknowledged.

        Raises:
            DiskFull: It failed.
        """
        return self._upload if self._task is None else await self._task


def _is_due(waiting_bytes: int, waited_s: float) -> bool:
    return waiting_bytes >= CHECKPOINT_BYTES or (waiting_bytes > 0 and waited_s >= CHECKPOINT_S)
