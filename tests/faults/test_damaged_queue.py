"""An append-only file of the queue that is damaged while the server is down."""

import os
import random
import time

import pytest
from fault_fixtures import Faulted, settle
from fault_report import Extent, Faults

pytestmark = [pytest.mark.process, pytest.mark.faults, pytest.mark.timeout(900)]


@pytest.mark.parametrize("harm", ["noise", "cut"])
def test_an_append_only_file_that_is_damaged(
    faulted: Faulted, faults: Faults, chance: random.Random, extent: Extent, harm: str
) -> None:
    for _ in extent.times(2):
        for _ in range(2):
            faulted.submit()
        time.sleep(chance.random() * 2)
        faulted.kill_everything()
        written = max((faulted.data_dir / "queue" / "appendonlydir").glob("*.incr.aof"), key=os.path.getmtime)
        content = bytearray(written.read_bytes())
        if harm == "noise":
            middle = chance.randrange(len(content) // 3, 2 * len(content) // 3)
            content[middle : middle + 200] = chance.randbytes(200)
        else:
            del content[-chance.randrange(1, 9) :]
        written.write_bytes(content)
        faulted.start()
        faults.did(f"queue's file damaged by {'noise in its middle' if harm == 'noise' else 'a cut end'}")
    assert harm == "cut" or list((faulted.data_dir / "queue").glob("damaged-*"))
    settle(faulted, faults)
