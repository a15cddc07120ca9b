"""Hosts that are cut off from queue and bucket in the middle of a job, at times that the seed chooses, and healed."""

import random
from pathlib import Path

import pytest
from apart import Apart
from cut_off import MOMENTS, cut_off
from fault_report import Extent, Faults
from lan_clients import Labels

pytestmark = [pytest.mark.process, pytest.mark.faults, pytest.mark.timeout(900)]


def test_hosts_that_are_cut_off(
    apart: Apart, fault_slide: Path, on_one_machine: Labels, faults: Faults, chance: random.Random, extent: Extent
) -> None:
    gateway = apart.gateway
    slide_id = gateway.uploaded(fault_slide.read_bytes())
    for moment in extent.some((*MOMENTS, chance.choice(MOMENTS))):
        with faults.accounted():
            faults.did(f"host cut off at a {moment}")
            job_id = cut_off(apart, slide_id, chance, moment)
            assert apart.labels(gateway, job_id) == on_one_machine
    assert gateway.delete(f"/v1/slides/{slide_id}").status_code == 204
    assert apart.keys() == []
