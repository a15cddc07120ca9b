"""A huge file through crashes of the gateway: what arrives in the end has the right SHA-256.

`LDIFFUSION_TEST_HUGE_MIB=5120` sends 5 GiB, twice as much room must be free; without it a small file does.
"""

import os
from pathlib import Path

from benchmarks.gateway_process import queue_of
from benchmarks.gateway_uploads import MIB, make_slide, through_crashes
from workers.core.digests import sha256_of

CRASHES = 3
SIZE_MIB = int(os.environ.get("LDIFFUSION_TEST_HUGE_MIB", "80"))


def test_a_sparse_file_arrives_through_three_crashes(tmp_path: Path) -> None:
    file = tmp_path / "slide.tif"
    make_slide(file, SIZE_MIB * MIB, sparse=True)
    with queue_of(tmp_path / "data") as settings:
        digest, offsets = through_crashes(settings, file, CRASHES)
    assert digest == sha256_of(file)
    assert offsets == sorted(offsets)
    assert len(offsets) == CRASHES
    assert offsets[-1] < file.stat().st_size  # each crash was on the way
