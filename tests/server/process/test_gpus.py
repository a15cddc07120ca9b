"""Each worker sees one GPU, and none is left out."""

from pathlib import Path

import pytest

from server.process.gpus import VISIBLE, gpus_of, with_gpu
from workers.core.settings import Settings


@pytest.fixture
def driven(tmp_path: Path) -> Path:
    """What a kernel with two GPUs shows."""
    for address in ("0000:17:00.0", "0000:65:00.0"):
        (tmp_path / address).mkdir()
    return tmp_path


def test_gpus_are_those_that_the_kernel_drives_or_the_environment_names(driven: Path) -> None:
    auto = Settings(device="auto")
    assert gpus_of(auto, {}, driven) == ["0", "1"]
    assert gpus_of(auto, {VISIBLE: "1, GPU-8f2c"}, driven) == ["1", "GPU-8f2c"]
    assert gpus_of(auto, {VISIBLE: ""}, driven) == []  # so people hide all of them
    assert gpus_of(Settings(device="cpu"), {VISIBLE: "0"}, driven) == []
    assert gpus_of(auto, {}, driven / "nothing") == []


def test_workers_take_them_in_turn() -> None:
    seen = [with_gpu({"A": "b"}, ["0", "GPU-8f2c"], number) for number in (1, 2, 3)]
    assert seen == [{"A": "b", VISIBLE: gpu} for gpu in ("0", "GPU-8f2c", "0")]
    assert with_gpu({"A": "b"}, [], 1) == {"A": "b"}
