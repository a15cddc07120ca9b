"""The benchmark of attacks prints its figures by their names; how good they are is no matter of a test."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks import attacks
from benchmarks.attack_kinds import QUICK_PLACES, SLOW_LEVEL, SLOW_PLACES, SLOW_TILE_PX, SLOW_TILES
from benchmarks.attack_slides import means_of
from benchmarks.attacks import Run, figures_of
from benchmarks.gateway_process import held_mb, queue_of, start_gateway
from benchmarks.gateway_uploads import Uploader
from server.viewing.deepzoom import TILE_PX

STARTS = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
SHARING = """
import os, sys
held = bytearray(os.urandom(100_000_000))
os.fork() and os.fork()
os.write(1, b"ready\\n")
sys.stdin.read()
"""
NAMES = {"attacks.worst_bystander_x", "attacks.gateway_growth_mb", "attacks.failed_requests"}


@pytest.mark.process
@pytest.mark.bench
@pytest.mark.slow
def test_one_run_prints_every_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--requests", "5", "--repeat", "1", "--only", "endless header", "--folder", str(tmp_path)]
    attacks.main(small, standalone_mode=False)
    figures = {line["figure"]: line["value"] for line in map(json.loads, capsys.readouterr().out.splitlines()[-3:])}
    assert figures.keys() == NAMES
    assert figures["attacks.worst_bystander_x"] > 0
    assert figures["attacks.failed_requests"] == 0


@pytest.mark.process
@pytest.mark.bench
@pytest.mark.slow
def test_the_attacker_s_slides_are_what_they_are_meant_to_be(tmp_path: Path) -> None:
    with queue_of(tmp_path / "data") as settings:
        gateway = start_gateway(settings)
        try:
            key = attacks.key_of(settings, "attacker")
            means = means_of(gateway.port, key, tmp_path)
            client = Uploader(gateway.port, key)
            for bomb in Path(means["ATTACK_BOMBS"]).iterdir():
                with pytest.raises(RuntimeError, match="slide_unreadable"):
                    client.put(bomb)
            tile = f"/v1/slides/{means['ATTACK_SLIDE']}/slide_files/{SLOW_LEVEL}/{SLOW_TILES - 1}_0.jpeg"
            assert client.ask("GET", tile)[0]["content-type"] == "image/jpeg"
        finally:
            gateway.stop()


def test_slow_tiles_are_each_decoded_anew_and_quick_ones_once() -> None:
    def stored(places: tuple[tuple[int, int], ...]) -> set[tuple[int, int]]:
        return {(x * TILE_PX // SLOW_TILE_PX, y * TILE_PX // SLOW_TILE_PX) for x, y in places}

    assert len(stored(SLOW_PLACES)) == len(SLOW_PLACES) == (SLOW_TILES * TILE_PX // SLOW_TILE_PX) ** 2
    assert len(stored(QUICK_PLACES)) == 1 < len(QUICK_PLACES)


@pytest.mark.process
def test_memory_that_a_process_and_its_children_share_counts_once() -> None:
    if os.geteuid() != 0:
        pytest.skip("the kernel tells root alone what processes share")
    command = [sys.executable, "-c", STARTS, SHARING]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert [process.stdout.readline() for _ in range(3)] == [b"ready\n"] * 3
        found = held_mb(psutil.Process(process.pid))
        process.stdin.close()
    assert 100 < found < 200


def test_the_worst_attack_is_the_one_whose_median_is_worst() -> None:
    runs = {
        "steady": [Run(10, 40, 0, 5), Run(10, 50, 1, 6), Run(10, 60, 0, 4)],
        "once": [Run(10, 10, 0, 1), Run(10, 900, 2, 80), Run(10, 10, 0, 2)],
    }
    found = {each.name: each for each in figures_of(runs)}
    assert (found["attacks.worst_bystander_x"].value, found["attacks.worst_bystander_x"].spread) == (5, (4, 6))
    assert (found["attacks.gateway_growth_mb"].value, found["attacks.gateway_growth_mb"].spread) == (80, (1, 80))
    assert found["attacks.failed_requests"].value == 3
