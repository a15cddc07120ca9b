"""A large file through crashes of the gateway: what arrives in the end has the right SHA-256."""

import shutil
from pathlib import Path

import pytest

from benchmarks.gateway_process import queue_of
from benchmarks.gateway_uploads import MIB, make_slide, through_crashes
from workers.core.digests import sha256_of

CRASHES = 3
COPIES = 3  # with some room to spare: what arrives, and what it is put together from

pytestmark = pytest.mark.process


@pytest.mark.parametrize(
    "size_mib", [80, pytest.param(5120, marks=[pytest.mark.huge, pytest.mark.timeout(3600)], id="past-4-GiB")]
)
def test_a_sparse_file_arrives_through_three_crashes(tmp_path: Path, size_mib: int) -> None:
    if shutil.disk_usage(tmp_path).free < COPIES * size_mib * MIB:
        pytest.skip(f"{COPIES * size_mib} MiB are not free at {tmp_path}")
    file = tmp_path / "slide.tif"
    make_slide(file, size_mib * MIB, sparse=True)
    with queue_of(tmp_path / "data") as settings:
        digest, offsets = through_crashes(settings, file, CRASHES)
    assert digest == sha256_of(file)
    assert offsets == sorted(offsets)
    assert len(offsets) == CRASHES
    assert offsets[-1] < file.stat().st_size  # each crash was on the way
