"""A disk that is full or read-only at each stage of a job."""

import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import pytest
from fault_fixtures import Faulted, Serve, settle
from fault_processes import awaited
from fault_report import Extent, Faults

pytestmark = [pytest.mark.process, pytest.mark.faults, pytest.mark.timeout(900)]

STAGES = ("plan", "region", "finish")
DISK_BYTES = 64 * 2**20


def mount(*arguments: str) -> bool:
    """Whether `mount` could."""
    return subprocess.run(["mount", *arguments], check=False, capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def small_disk(serve_faulted: Serve) -> Iterator[Faulted]:
    """A server whose jobs lie on a small disk of their own."""
    mounted: list[Path] = []

    def prepare(server: Faulted) -> None:
        folder = server.data_dir / "jobs"
        folder.mkdir(parents=True, mode=0o700)
        server.data_dir.chmod(0o700)
        if not mount("-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "none", str(folder)):
            pytest.skip("only who may mount a disk can have it full")
        mounted.append(folder)

    try:
        server = serve_faulted(prepare)
        yield server
        server.kill_everything()
    finally:
        for folder in mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=False)


@contextmanager
def full(server: Faulted) -> Iterator[None]:
    """Leave no room on the disk."""
    ballast = server.data_dir / "jobs" / ".ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def read_only(server: Faulted) -> Iterator[None]:
    """Let nobody write to the disk, once nobody has a file open for it."""
    folder = str(server.data_dir / "jobs")
    awaited(lambda: mount("-o", "remount,ro", folder))
    try:
        yield
    finally:
        assert mount("-o", "remount,rw", folder)


def test_a_disk_that_is_full(small_disk: Faulted, faults: Faults, extent: Extent) -> None:
    for stage in extent.some(STAGES):
        job_id = small_disk.submit()
        awaited(partial(small_disk.at_work, stage, job_id))
        with full(small_disk):
            faults.did(f"disk full at a {stage}")
            small_disk.failing[job_id] = "disk_full"
            assert small_disk.ended(job_id)["state"] == "failed"
        small_disk.submit()
        settle(small_disk, faults)


@pytest.mark.parametrize(("harm", "status", "code"), [(full, 507, "disk_full"), (read_only, 503, "storage_fault")])
def test_a_disk_that_takes_no_job(
    small_disk: Faulted,
    faults: Faults,
    harm: Callable[[Faulted], AbstractContextManager[None]],
    status: int,
    code: str,
) -> None:
    with harm(small_disk):
        refused = small_disk.http.post("/v1/jobs", **small_disk.request())
        assert (refused.status_code, refused.json()["error"]["code"]) == (status, code)
        faults.did(f"disk {harm.__name__.replace('_', '-')} at a submitted job")
    small_disk.submit()
    settle(small_disk, faults)


def test_a_disk_that_is_read_only_for_seconds(
    small_disk: Faulted, faults: Faults, chance: random.Random, extent: Extent
) -> None:
    for stage in extent.some(STAGES):
        job_id = small_disk.submit()
        awaited(partial(small_disk.at_work, stage, job_id))
        with read_only(small_disk):
            faults.did(f"disk read-only at a {stage}")
            time.sleep(chance.uniform(1, 4))
        settle(small_disk, faults)
