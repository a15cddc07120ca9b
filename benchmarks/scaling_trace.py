"""What one worker asks Redis for one region, as Redis itself saw it: the exchanges of `benchmarks.scaling_costs`."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import click

from benchmarks.scaling_costs import JOB, Costs, Exchange, Segment
from benchmarks.scaling_fleet import OURS

POP = "BLPOP"
REGION_QUEUES = frozenset({"rq:queue:ldiffusion:regions", "rq:queue:ldiffusion:batch-regions"})
STOP = "scaling:stop"
PIPELINED_S = 40e-6
"""Commands that come sooner after each other were sent together: an answer takes longer than that to be read."""

_PLAIN = "SET", "DEL", "UNLINK", "INCR", "INCRBY", "SADD", "SREM", "RPUSH", "LPUSH", "LPOP", "LREM"
WRITES = frozenset((*_PLAIN, "HSET", "HDEL", "HINCRBY", "HINCRBYFLOAT", "ZADD", "ZREM", "XADD"))
"""Commands that change their key, so that a transaction which watches it is refused; HSETNX of a field that is there
does not."""


class Command(NamedTuple):
    """One line of MONITOR; `at` in seconds; `in_script`: asked for by the script that was called before."""

    at: float
    words: list[str]
    in_script: bool = False

    @property
    def name(self) -> str:
        """What is to be done, in capitals."""
        return self.words[0].upper()

    @property
    def keys(self) -> frozenset[str]:
        """What it watches or changes of ours."""
        first = self.words[1:] if self.name == "WATCH" else self.words[1:2]
        is_ours = self.name == "WATCH" or self.name in WRITES
        return frozenset(key for key in first if is_ours and key.startswith("ldiffusion:") and ":missing" not in key)


@contextmanager
def listening(redis: Any, job_ids: Sequence[str]) -> Iterator[list[Command]]:
    """Give a list that has, after the context, all commands of others in it, the ids of these jobs as `JOB`.

    Args:
        redis: The client.
        job_ids: Jobs, also those that come in the context.
    """
    heard: list[Command] = []
    ready = threading.Event()

    def hear() -> None:
        with redis.monitor() as monitor:
            ready.set()
            for told in monitor.listen():
                words = told["command"].split(" ")
                if STOP in words:
                    return
                if words[0].lower() not in OURS:
                    heard.append(Command(told["time"], words, told["client_type"] == "lua"))

    thread = threading.Thread(target=hear, daemon=True)
    thread.start()
    ready.wait()
    yield heard
    redis.get(STOP)
    thread.join()
    for job_id in job_ids:
        heard[:] = [each._replace(words=[word.replace(job_id, JOB) for word in each.words]) for each in heard]


def costs_in(heard: Sequence[Command], chunk_s: float, period_s: float, op_s: float) -> Costs:
    """Return the exchanges of a region in the middle that hands out a turn, the one with the median number of commands.

    Args:
        heard: What one worker asked during a job.
        chunk_s: What a computation takes, seconds.
        period_s: Seconds from landing to landing, measured while nobody listened: gaps are stretched to it.
        op_s: Of Redis, for a command.
    """
    pops = [number for number, each in enumerate(heard) if each.name == POP]
    regions = [heard[begin:end] for begin, end in pairwise(pops)]
    regions = [each for each in regions if _hands_out(each) == 1 and _lands(each) == 1]
    if not regions:
        raise click.ClickException("no region was seen that hands out a turn and lands")
    typical = sorted(regions, key=len)[len(regions) // 2]
    segments = _segments(_exchanges(typical[1:], typical[0].at, op_s))
    return _stretched(_parted(segments, chunk_s, op_s), chunk_s, period_s)


def _hands_out(commands: Sequence[Command]) -> int:
    return sum(each.name == "RPUSH" and each.words[1] in REGION_QUEUES for each in commands)


def _lands(commands: Sequence[Command]) -> int:
    return sum(each.name == "SREM" and each.words[1].endswith(":todo") for each in commands)


def _exchanges(commands: Sequence[Command], began: float, op_s: float) -> list[Exchange]:
    """Join what was sent together: from MULTI to EXEC, a script and what it asks for, what came at once."""
    found: list[list[Command]] = []
    in_multi = False
    for each in commands:
        together = found and each.at - found[-1][-1].at < PIPELINED_S and each.name not in ("MULTI", "WATCH")
        if in_multi or together or each.in_script:
            found[-1].append(each)
        else:
            found.append([each])
        in_multi = each.name == "MULTI" or (in_multi and each.name != "EXEC")
    befores = [began, *(group[-1].at for group in found)]
    gaps_s = (max(0.0, group[0].at - before - op_s) for group, before in zip(found, befores[:-1], strict=True))
    return [_exchange(group, gap_s) for group, gap_s in zip(found, gaps_s, strict=True)]


def _exchange(group: Sequence[Command], gap_s: float) -> Exchange:
    names = {each.name for each in group}
    watched, written = (
        frozenset(key for each in group if (each.name == "WATCH") == watches for key in each.keys)
        for watches in (True, False)
    )
    effect = "handed out" if _hands_out(group) else "landed" if _lands(group) else ""
    return Exchange(
        gap_s=gap_s,
        ops=len(group),
        watched=watched,
        written=written,
        commits="EXEC" in names and len(group) > 2,  # an empty one only lets go
        roster="MGET" in names,
        effect=effect,  # type: ignore[arg-type]
    )


def _segments(exchanges: Sequence[Exchange]) -> list[Segment]:
    """Part them: one by one, but from the first WATCH to what lets go of it."""
    found: list[list[Exchange]] = []
    is_open = False
    for one in exchanges:
        if is_open:
            found[-1].append(one)
        else:
            found.append([one])
        lets_go = one.commits or (is_open and one.ops == 2 and not one.watched and not one.written)
        is_open = (is_open or bool(one.watched)) and not lets_go
    return [tuple(segment) for segment in found]


def _parted(segments: Sequence[Segment], chunk_s: float, op_s: float) -> Costs:
    """Find the hand-out and, by the longest gap, the computation; its seconds go out of that gap."""
    hands_out = next(at for at, segment in enumerate(segments) if any(one.effect == "handed out" for one in segment))
    after = segments[hands_out + 1 :]
    lands = max(range(len(after)), key=lambda at: after[at][0].gap_s)
    first, *others = after[lands]
    first = first._replace(gap_s=max(0.0, first.gap_s - chunk_s))
    return Costs(
        claim=tuple(segments[:hands_out]),
        hand_out=segments[hands_out],
        start=tuple(after[:lands]),
        land=((first, *others), *after[lands + 1 :]),
        op_s=op_s,
    )


def _stretched(costs: Costs, chunk_s: float, period_s: float) -> Costs:
    """Stretch all gaps alike so that one worker takes as long as was measured."""
    gaps_s = sum(one.gap_s * often for one, often in costs.asked)
    asked_s = costs.alone_s() - gaps_s
    share = max(0.0, period_s - chunk_s - asked_s) / gaps_s if gaps_s else 0.0

    def stretch(segment: Segment) -> Segment:
        return tuple(one._replace(gap_s=one.gap_s * share) for one in segment)

    stretched = (tuple(map(stretch, part)) for part in (costs.claim, (costs.hand_out,), costs.start, costs.land))
    claim, (hand_out,), start, land = stretched
    return replace(costs, claim=claim, hand_out=hand_out, start=start, land=land)
