"""The benchmark of many workers, on few and short chunks: it ends with its figures; how quick is no matter here."""

import json
from pathlib import Path

import pytest

from benchmarks import scaling
from benchmarks.scaling_fleet import ceil_root, steady
from benchmarks.scaling_outlook import Bill, Prices, bill
from benchmarks.scaling_trace import Command, costs_in
from benchmarks.scaling_turns import TURN_REGIONS

JOB_KEY = "ldiffusion:job:JOB"

REGION = """
0.000 BLPOP rq:queue:ldiffusion:regions 5
0.002 HGETALL rq:job:one
0.004 WATCH ldiffusion:job:JOB ldiffusion:job:JOB:todo
0.006 HGET ldiffusion:job:JOB state
0.008 MULTI
0.008 HSET ldiffusion:job:JOB:leases region-1 w:1
0.008 HSETNX ldiffusion:job:JOB first_region_at now
0.008 EXEC
0.010 WATCH ldiffusion:turn
0.012 MULTI
0.012 INCRBY ldiffusion:turn 1
0.012 RPUSH rq:queue:ldiffusion:regions two
0.012 EXEC
0.014 WATCH ldiffusion:turn
0.016 MULTI
0.016 EXEC
0.018 ZRANGE ldiffusion:workers 0 -1
0.020 MGET ldiffusion:worker:w
0.030 HGET ldiffusion:job:JOB state
0.03001 HGET ldiffusion:job:JOB:leases region-1
0.530 HGET ldiffusion:job:JOB state
0.532 MULTI
0.532 SREM ldiffusion:job:JOB:todo 1
0.532 EXEC
"""


SCRIPTED = """
0.000 BLPOP rq:queue:ldiffusion:regions 5
0.002 HGETALL rq:job:one
0.004 EVALSHA take
0.00404 lua HSETNX ldiffusion:job:JOB:leases region-1 w:1
0.0041 lua LLEN rq:queue:ldiffusion:regions
0.006 EVALSHA hand_out
0.0061 lua LPOP ldiffusion:job:JOB:waiting 4
0.0062 lua RPUSH rq:queue:ldiffusion:regions two three four five
0.506 HGET ldiffusion:job:JOB:leases region-1
0.508 EVALSHA land
0.5081 lua SREM ldiffusion:job:JOB:todo 1
"""


def heard(times: int, region: str = REGION) -> list[Command]:
    lines = [line.split(" ") for line in region.strip().splitlines()]
    return [
        Command(number + float(at), words[words[0] == "lua" :], words[0] == "lua")
        for number in range(times)
        for at, *words in lines
    ]


def test_what_a_script_asks_for_belongs_to_it() -> None:
    # the last region of a job queues its finish, which is no turn
    last = SCRIPTED.replace("regions two three four five", "control finish").splitlines()
    seen = heard(4, SCRIPTED) + heard(9, "\n".join(line for line in last if "LPOP" not in line))
    costs = costs_in(seen, chunk_s=0.5, period_s=0.6, op_s=0.0001)
    assert [[one.ops for one in segment] for segment in costs.claim] == [[1], [3]]
    assert [one.ops for one in costs.hand_out] == [3]
    assert costs.start == ()
    assert [[one.ops for one in segment] for segment in costs.land] == [[1], [2]]
    assert [one.effect for one in costs.land[-1]] == ["landed"]
    assert sum(one.ops * often for one, often in costs.asked) == 1 + 3 + 3 / TURN_REGIONS + 1 + 2
    assert costs.alone_s() == pytest.approx(0.1), "stretched to what was measured in the mean"


def test_what_one_worker_asked_is_parted_at_hand_out_and_computation() -> None:
    costs = costs_in(heard(4), chunk_s=0.5, period_s=0.6, op_s=0.0001)
    lease = costs.claim[-1]
    assert [one.ops for one in lease] == [1, 1, 4]
    assert lease[0].watched == {JOB_KEY, f"{JOB_KEY}:todo"}
    assert lease[-1].commits
    assert lease[-1].written == {f"{JOB_KEY}:leases"}  # first_region_at was there
    assert [one.effect for one in costs.hand_out] == ["", "handed out"]
    assert costs.hand_out[-1].written == {"ldiffusion:turn"}
    looked, *_ = costs.start
    assert [one.commits for one in looked] == [False, False], "an empty transaction is never refused"
    assert [one.roster for segment in costs.start for one in segment] == [False, False, False, True, False]
    assert costs.start[-1][0].ops == 2, "sent together"
    assert costs.land[-1][0].effect == "landed"
    assert costs.alone_s() == pytest.approx(0.1), "stretched to what was measured"


def test_the_steady_middle_leaves_out_the_first_and_the_last() -> None:
    landings = (0.0, 5.0, 6.0, 7.0, 8.0, 9.0, 30.0, 31.0)
    assert steady(landings, 1) == pytest.approx(1.0)


@pytest.mark.parametrize(("number", "side"), [(1, 1), (2, 2), (4, 2), (5, 3), (81, 9), (82, 10)])
def test_sides_of_squares(number: int, side: int) -> None:
    assert ceil_root(number) == side


def test_a_bill_adds_up() -> None:
    prices = Prices(worker_hour=0.5, gib_month=0.02, gib_read=0.01, slide_gib=2.0, result_gib=0.5, months=3.0)
    assert bill(prices, workers=100, slides_a_day=10_000) == pytest.approx(Bill(0.12, 0.15, 0.02))
    assert bill(prices, workers=100, slides_a_day=10_000).total == pytest.approx(0.29)


@pytest.mark.process
@pytest.mark.bench
@pytest.mark.slow
def test_a_small_fleet_is_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(scaling, "FLEETS", (1, 64))
    monkeypatch.setattr(scaling, "SIMULATED_S", 0.5)
    kept = tmp_path / "costs.json"
    few = ["--regions", "20", "--slides-a-day", "1000"]
    small = ["--workers", "1", "--workers", "2", "--chunks", "3", "--seconds", "0.2", "--idle-seconds", "1", *few]
    scaling.main([*small, "--way", "sleep", "--keep", str(kept)], standalone_mode=False)
    first = figures_in(capsys.readouterr().out)
    assert first.keys() >= {
        "scaling.efficiency_2",
        "scaling.redis_ops_per_chunk",
        "scaling.redis_bytes_per_chunk",
        "scaling.simulation_error",
        "scaling.simulated_efficiency_64",
    }
    assert all(value > 0 for name, value in first.items() if name != "scaling.simulation_error")
    scaling.main(["--from", str(kept), *few], standalone_mode=False)
    assert figures_in(capsys.readouterr().out) == first, "drawn again from what was kept"


def figures_in(text: str) -> dict[str, float]:
    lines = (json.loads(line) for line in text.splitlines() if line.startswith('{"figure"'))
    return {line["figure"]: line["value"] for line in lines}
