"""Several processes train as one, and TensorBoard gets what the log gets."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from loop_worker import FIGURES, STOPPING, scripted, tiny_loop, tiny_task
from safetensors.torch import load_file

from models.training.loop import LoopConfig
from models.training.processes import Processes, join_processes
from models.training.runlog import RunLog
from models.training.state import read_place


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port: int = door.getsockname()[1]
    return port


def train_together(run_dir: Path, root: Path) -> None:
    """Run the worker as two processes, with the environment that `accelerate launch` gives them."""
    shared = {
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(root),
    }
    started = [
        subprocess.Popen(
            [sys.executable, str(root / "tests" / "fixtures" / "loop_worker.py"), str(run_dir)],
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in started:
        _, said = process.communicate()
        assert process.returncode == 0, said


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.huge
@pytest.mark.timeout(900)
def test_two_processes_train_like_one_in_two_parts(tmp_path: Path, repo_root: Path) -> None:
    pytest.importorskip("accelerate")
    train_together(tmp_path, repo_root)
    alone = tiny_task(replace(STOPPING, accumulate=2), norm=False, validate=scripted(FIGURES))
    tiny_loop(tmp_path / "one").train(alone)
    runs = [tmp_path / "plain", tmp_path / "one"]
    places = [read_place(run) for run in runs]
    assert [(place.step, place.best_step, place.stopped) for place in places] == [(8, 4, True)] * 2
    two, one = (load_file(run / place.state) for run, place in zip(runs, places, strict=True))
    assert two.keys() == one.keys()
    for name, value in two.items():
        torch.testing.assert_close(value, one[name], rtol=1e-4, atol=1e-6, msg=name)
    logs = [[json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()] for run in runs]
    assert [row["step"] for row in logs[0]] == [row["step"] for row in logs[1]]
    assert [row["loss"] for row in logs[0] if "loss" in row] == pytest.approx(
        [row["loss"] for row in logs[1] if "loss" in row], abs=2e-5
    )

    normed = load_file(tmp_path / "norm" / read_place(tmp_path / "norm").state)
    # The best was kept after step 4; batches are counted once, by the first process, and never by a frozen part.
    assert normed["model/learned.1.num_batches_tracked"].item() == 4
    assert normed["model/frozen.1.num_batches_tracked"].item() == 0


def test_alone_nothing_is_exchanged() -> None:
    alone = Processes(torch.device("cpu"))
    values = [torch.ones(2)]
    alone.average(values)
    alone.share(values)
    assert alone.first
    assert alone.share_number(2.5) == 2.5
    alone.leave()


def test_a_device_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert join_processes("auto").device.type == "cpu"
    with pytest.raises(ValueError, match="device 'cuda': torch finds no CUDA device"):
        join_processes("cuda")


def test_several_processes_need_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.training.processes.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="4 processes were started; that needs the package accelerate"):
        join_processes("cpu", 4)


def test_rows_of_steps_made_again_are_dropped(tmp_path: Path) -> None:
    for stage, steps in (("stage0", (1, 2)), ("stage1", (1, 2, 3, 4))):
        log = RunLog(tmp_path, stage, 0, tensorboard=False)
        for step in steps:
            log.write(step, {"loss": 0.5})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"stage": "stage1", "st')  # cut off
    RunLog(tmp_path, "stage1", 2, tensorboard=False).write(3, {"loss": 0.25})
    assert (tmp_path / "log.jsonl").read_text().splitlines() == [
        '{"stage": "stage0", "step": 1, "loss": 0.5}',
        '{"stage": "stage0", "step": 2, "loss": 0.5}',
        '{"stage": "stage1", "step": 1, "loss": 0.5}',
        '{"stage": "stage1", "step": 2, "loss": 0.5}',
        '{"stage": "stage1", "step": 3, "loss": 0.25}',
    ]


def test_tensorboard_holds_the_rows(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = LoopConfig(steps=3, batch=2)
    tiny_loop(tmp_path, tensorboard=True).train(tiny_task(config))
    events = EventAccumulator(str(tmp_path / "tensorboard" / "tiny"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3]


def test_without_tensorboard_the_log_is_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.training.runlog.find_spec", lambda name: None)
    tiny_loop(tmp_path, tensorboard=True).train(tiny_task(LoopConfig(steps=1, batch=2)))
    assert not (tmp_path / "tensorboard").exists()
    assert (tmp_path / "log.jsonl").read_text().count("\n") == 1
