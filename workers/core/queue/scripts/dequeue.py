"""Takes the tasks of a job that has ended out of the queues.

Else later jobs wait while each is taken and put away: some 10 ms a task, minutes for a slide of many thousand regions.
"""

from collections.abc import Iterable
from typing import Any

from rq import Queue
from rq.job import Job

SCRIPT = """
local ids = redis.call('LRANGE', KEYS[1], 0, -1)
local kept = {}
for _, id in ipairs(ids) do
    if string.sub(id, 1, #ARGV[1]) == ARGV[1] then
        redis.call('DEL', ARGV[2] .. id)
    else
        kept[#kept + 1] = id
    end
end
if #kept < #ids then
    redis.call('DEL', KEYS[1])
    for _, id in ipairs(kept) do
        redis.call('RPUSH', KEYS[1], id)
    end
end
return #ids - #kept
"""
"""One pass over a queue, as one step for whoever takes from it: removing tasks one by one goes through it each time."""


def dequeue(redis: Any, queues: Iterable[Queue], job_id: str) -> int:
    """Remove what waits of a job; what runs is left to its worker, which finds that the job has ended.

    Returns:
        How many tasks there were.
    """
    return sum(int(redis.eval(SCRIPT, 1, queue.key, f"{job_id}-", Job.redis_job_namespace_prefix)) for queue in queues)
