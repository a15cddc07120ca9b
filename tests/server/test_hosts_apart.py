"""Gateways and workers on hosts of their own, which share a queue and a bucket; one is cut off and healed."""

import random
from pathlib import Path

import numpy as np
import pytest
from apart import WORKERS, Apart
from cut_off import cut_off
from fault_processes import awaited
from lan_clients import Labels
from made_slides import write_slide

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(900)]

SEED = 4
"""With which the host comes back after the other's commit; `tests/faults/test_partitions.py` draws others."""


@pytest.fixture(scope="module")
def another_slide(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    cells = np.random.default_rng(6).integers(100, 200, (60, 80, 3), dtype=np.uint8)
    pixels = cells.repeat(13, axis=0)[:760].repeat(13, axis=1)[:, :1000]
    return write_slide(tmp_path_factory.mktemp("another") / "made.tif", pixels).read_bytes()


def test_the_whole_chain_on_hosts_that_share_a_queue_and_a_bucket(
    apart: Apart, fault_slide: Path, another_slide: bytes, on_one_machine: Labels
) -> None:
    near = apart.gateway
    slides = [near.uploaded(fault_slide.read_bytes()), near.uploaded(another_slide)]
    jobs: list[tuple[str, str]] = []
    used: set[str | None] = set()
    while used != set(WORKERS):
        pair = [(slide_id, near.submitted(slide_id)) for slide_id in slides]
        jobs += pair
        for _, job_id in pair:
            assert near.ended(job_id)["state"] == "succeeded"
            used.add(apart.has_job(job_id))
        assert len(jobs) < 20, "one host has all the jobs"
    of_first = [job_id for slide_id, job_id in jobs if slide_id == slides[0]]
    far = apart.start_gateway("d")
    for job_id in of_first:
        for gateway in (near, far):
            assert apart.labels(gateway, job_id) == on_one_machine
            assert gateway.get(f"/v1/jobs/{job_id}/overlay_files/0/0_0.png").status_code == 200
    assert far.get(f"/v1/slides/{slides[0]}/slide_files/9/0_0.jpeg").status_code == 200
    for host in WORKERS:
        assert len(apart.copies(host)) == 1, "there is room for one"
        assert not (apart.folder / host / "slides").exists() or not any((apart.folder / host / "slides").iterdir())
    for slide_id in slides:
        assert near.delete(f"/v1/slides/{slide_id}").status_code == 204
    for path in [f"/v1/slides/{slides[0]}", f"/v1/jobs/{of_first[0]}", f"/v1/jobs/{of_first[0]}/labels.ome.tif"]:
        for gateway in (near, far):
            awaited(lambda: gateway.get(path).status_code == 404)  # noqa: B023 (called now)
    assert apart.keys() == []


def test_a_host_that_is_cut_off_in_the_middle_of_a_job_and_healed(
    apart: Apart, fault_slide: Path, on_one_machine: Labels
) -> None:
    slide_id = apart.gateway.uploaded(fault_slide.read_bytes())
    job_id = cut_off(apart, slide_id, random.Random(SEED), "publish")
    assert apart.labels(apart.gateway, job_id) == on_one_machine
    assert apart.gateway.delete(f"/v1/slides/{slide_id}").status_code == 204
    assert apart.keys() == []
