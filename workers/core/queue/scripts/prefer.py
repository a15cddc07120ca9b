"""Keeps models warm: a worker that took a region of another model than it holds changes it for one of its own.

Only among the next few regions of the same queue, and only so often: what is passed over keeps its place, and its turn
is as it was, so nobody has more regions by it, only sooner or later. Of jobs of one model nothing is asked.
"""

from typing import Any

from rq.job import Job

WINDOW = 8
"""Regions behind the next one that are looked at."""

PASSES = 4
"""How often a region that is next may be passed over: at most `WINDOW * PASSES` later ones come before any region."""

PREFER = """
local taken, model, window, prefix = unpack(ARGV)
for _, id in ipairs(redis.call('LRANGE', KEYS[1], 0, window - 1)) do
    if redis.call('HGET', prefix .. id, 'model') == model then
        redis.call('LREM', KEYS[1], 1, id)
        redis.call('LPUSH', KEYS[1], taken)
        redis.call('HINCRBY', prefix .. taken, 'passed', 1)
        return id
    end
end
return false
"""
"""Puts back an entry that was taken from a queue, and takes one of a model out, if one is near; returns which."""


class Preference:
    """What a worker takes instead of what is next.

    Args:
        redis: The client.
    """

    def __init__(self, redis: Any) -> None:
        self._prefer = redis.register_script(PREFER)

    def instead(self, queue_key: str, entry: str, of: str, passed: int, held: str | None) -> str | None:
        """Return the entry that was taken instead of one, which is next again; None if that is to be run.

        Args:
            queue_key: The queue.
            entry: What was taken from it.
            of: The model of that; empty if it is of none.
            passed: How often it was passed over.
            held: The model in this worker's memory.
        """
        if not of or held is None or of == held or passed >= PASSES:
            return None
        found = self._prefer(keys=[queue_key], args=[entry, held, WINDOW, Job.redis_job_namespace_prefix])
        return None if found is None else str(found.decode())
