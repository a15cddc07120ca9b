"""A slide that is a bomb costs its job: not the worker, not the model in memory, not the next job."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from acting_reader import ACT
from made_slides import write_slide
from numpy.typing import NDArray

from workers.core.children.held import ReadAbandoned
from workers.core.children.readers import Readers, shared_memory
from workers.core.confinement.files import landlock_version
from workers.core.confinement.lock import LIBC
from workers.core.errors.base import LDiffusionError
from workers.core.errors.jobs import SlideReaderFailed, SlideReadTimeout
from workers.core.settings import Settings
from workers.core.slides.slide import Slide
from workers.core.slides.tolerant import COSTLY_MAX, bad_blocks

SETTINGS = Settings(read_timeout_s=2, reader_memory_bytes=512 * 2**20)
ACTING = "tests.fixtures.acting_reader"
GOOD, BAD = (0, 0, 0, 256, 256), (0, 256, 0, 256, 256)
UInt8 = NDArray[np.uint8]


@pytest.fixture
def pixels() -> UInt8:
    return np.random.default_rng(0).integers(100, 255, (512, 2600, 3)).astype(np.uint8)


@pytest.fixture
def slide(tmp_path: Path, pixels: UInt8) -> Path:
    (tmp_path / "mine").mkdir()
    return write_slide(tmp_path / "mine" / "s.tif", pixels, compression="zlib")


@pytest.fixture
def act(slide: Path) -> Callable[..., None]:
    def act(word: str, lv_x: int = BAD[1], lv_y: int = BAD[2]) -> None:
        (slide.parent / ACT).write_text(f"{word} {lv_x} {lv_y}")

    return act


@pytest.fixture
def readers() -> Iterator[Readers]:
    readers = Readers(SETTINGS, ACTING)
    yield readers
    readers.close()


def zygote_of(readers: Readers) -> psutil.Process:
    process = readers._nursery._process
    assert process is not None
    return psutil.Process(process.pid)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.process
@pytest.mark.parametrize("word", ["crash", "hoard", "spin", "hang", "babble", "lie"])
def test_a_bomb_costs_its_place_and_no_other(
    readers: Readers, slide: Path, pixels: UInt8, act: Callable[..., None], word: str
) -> None:
    act(word)
    with readers.open(slide, name="a slide") as opened:
        with pytest.raises((SlideReaderFailed, SlideReadTimeout)) as caught:
            opened.read_level(*BAD)
        assert caught.value.value == "a slide: level 0 at (256, 0), 256 x 256 px"
        assert isinstance(caught.value, SlideReadTimeout) <= (word in ("hang", "spin"))
        assert np.array_equal(opened.read_level(*GOOD), pixels[:256, :256])
    assert readers.idle == [slide]
    until(lambda: len(zygote_of(readers).children()) == 1)  # none is left, not even as a zombie


@pytest.mark.process
def test_a_child_that_is_merely_worn_out_costs_nothing(
    readers: Readers, slide: Path, pixels: UInt8, act: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    act("tire")
    with readers.open(slide) as opened, caplog.at_level(logging.WARNING):
        opened.read_level(*GOOD)
        opened.expect(0, [BAD[1:], (512, 0, 256, 256), (768, 0, 256, 256)])
        for left in (256, 512, 768):
            assert np.array_equal(opened.read_level(0, left, 0, 256, 256), pixels[:256, left : left + 256])
    (said,) = [record.message for record in caplog.records]
    assert said.startswith("slide s.tif: reading level 0 at (256, 0), 256 x 256 px cost a child: ")


@pytest.mark.process
def test_a_job_that_puts_up_with_bad_tiles_notes_the_bomb(
    readers: Readers, slide: Path, pixels: UInt8, act: Callable[..., None]
) -> None:
    act("crash")
    with readers.open(slide, "mask") as opened:
        opened.expect(0, [GOOD[1:], BAD[1:], (512, 0, 256, 256)])
        assert np.array_equal(opened.read_level(*GOOD), pixels[:256, :256])
        assert (opened.read_level(*BAD) == 255).all()
        assert np.array_equal(opened.read_level(0, 512, 0, 256, 256), pixels[:256, 512:768])
        assert bad_blocks(opened, 0) == {(0, 1)}
        for _ in range(COSTLY_MAX - 2):  # the first time two tries were made
            opened.read_level(*BAD)
        with pytest.raises(SlideReaderFailed):  # and not for ever
            opened.read_level(*BAD)


@pytest.mark.process
def test_a_slide_that_boasts_of_its_size_is_not_believed(
    readers: Readers, slide: Path, act: Callable[..., None]
) -> None:
    act("boast")
    with pytest.raises(SlideReaderFailed) as caught:
        readers.open(slide)
    assert caught.value.value == "s.tif: opening it"


@pytest.mark.process
def test_a_child_reads_no_other_slide(readers: Readers, slide: Path, act: Callable[..., None]) -> None:
    if landlock_version(LIBC) < 1:
        pytest.skip("this kernel has no Landlock")
    act("spy")
    with readers.open(slide) as opened:
        assert not opened.read_level(*GOOD).any()


@pytest.mark.process
def test_a_child_cannot_take_the_memory_from_under_its_worker(
    readers: Readers, slide: Path, pixels: UInt8, act: Callable[..., None]
) -> None:
    act("shrink")
    with readers.open(slide) as opened:
        assert np.array_equal(opened.read_level(*BAD), pixels[:256, 256:512])


def test_the_size_of_the_shared_memory_is_sealed() -> None:
    file = shared_memory()
    for size in (0, 2**30):
        with pytest.raises(PermissionError):
            os.ftruncate(file, size)
    os.close(file)


@pytest.mark.process
def test_a_read_that_never_returns_is_given_up_with_its_task(
    readers: Readers, slide: Path, act: Callable[..., None]
) -> None:
    act("hang")
    readers.settings = SETTINGS.model_copy(update={"read_timeout_s": 600.0})
    caught: list[BaseException] = []

    def read(opened: Slide) -> None:
        try:
            opened.read_level(*BAD)
        except (LDiffusionError, OSError) as error:
            caught.append(error)

    with readers.open(slide) as opened:
        thread = threading.Thread(target=read, args=(opened,))
        thread.start()
        time.sleep(0.3)
        readers.abandon()
        thread.join(20)
        assert not thread.is_alive()
    assert isinstance(caught[0], ReadAbandoned)
    with readers.open(slide) as opened:  # the next task
        opened.read_level(*GOOD)


WORKER = """
import sys
from pathlib import Path
from workers.core.children.readers import Readers
from workers.core.settings import Settings
readers = Readers(Settings(), "tests.fixtures.acting_reader")
slide = readers.open(Path(sys.argv[1]))
(child,) = readers._busy
print(child.pid, readers._nursery._process.pid, flush=True)
slide.read_level(0, 256, 0, 256, 256)
"""


@pytest.mark.process
@pytest.mark.parametrize("word", ["spin", "hang"])
def test_no_child_outlives_a_worker_that_is_killed(slide: Path, act: Callable[..., None], word: str) -> None:
    act(word)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    command = [sys.executable, "-c", WORKER, str(slide)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        pids = [int(each) for each in worker.stdout.readline().split()]
        assert len(pids) == 2
        assert all(map(psutil.pid_exists, pids))
        worker.send_signal(signal.SIGKILL)
    until(lambda: not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids))
