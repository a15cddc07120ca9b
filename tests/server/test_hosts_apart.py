"""Gateways and workers on hosts of their own, which share a queue, a bucket and an index; one is cut off and healed."""

import random
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from apart import WORKERS, Apart
from cut_off import cut_off
from fault_processes import awaited
from lan_clients import Gateway, Labels
from made_slides import write_slide

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(900)]

SEED = 4
"""With which the host comes back after the other's commit; `tests/faults/test_partitions.py` draws others."""


@pytest.fixture(scope="module")
def another_slide(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    cells = np.random.default_rng(6).integers(100, 200, (60, 80, 3), dtype=np.uint8)
    pixels = cells.repeat(13, axis=0)[:760].repeat(13, axis=1)[:, :1000]
    return write_slide(tmp_path_factory.mktemp("another") / "made.tif", pixels).read_bytes()


def listed(gateway: Gateway, what: str) -> list[str]:
    items = gateway.get(f"/v1/{what}").json()["items"]
    return [each["id"] for each in items]


def agree(apart: Apart, slides: list[str], jobs: list[str]) -> bool:
    """Whether both gateways list these and no others, the newest first, and count the same."""
    found = [(listed(each, "slides"), listed(each, "jobs")) for each in (apart.gateway, apart.second)]
    usage = [each.get("/v1/usage").json() for each in (apart.gateway, apart.second)]
    return found == [(slides[::-1], jobs[::-1])] * 2 and usage[0] == usage[1]


def test_the_whole_chain_on_hosts_that_share_a_queue_a_bucket_and_an_index(
    apart: Apart, fault_slide: Path, another_slide: bytes, on_one_machine: Labels
) -> None:
    near, far = apart.gateway, apart.second
    slides = [near.uploaded(fault_slide.read_bytes()), near.uploaded(another_slide)]
    jobs: list[tuple[str, str]] = []
    used: set[str | None] = set()
    while used != set(WORKERS):
        pair = [(slide_id, near.submitted(slide_id)) for slide_id in slides]
        jobs += pair
        awaited(partial(agree, apart, slides, [job_id for _, job_id in jobs]))
        for _, job_id in pair:
            assert near.ended(job_id)["state"] == "succeeded"
            used.add(apart.has_job(job_id))
        assert len(jobs) < 20, "one host has all the jobs"
    of_far = far.submitted(slides[0])  # of a slide that the other has admitted
    assert far.ended(of_far)["state"] == "succeeded"
    jobs.append((slides[0], of_far))
    awaited(partial(agree, apart, slides, [job_id for _, job_id in jobs]))
    assert far.get("/v1/usage").json()["slides"] == len(slides)
    of_first = [job_id for slide_id, job_id in jobs if slide_id == slides[0]]
    for job_id in of_first:
        for gateway in (near, far):
            assert apart.labels(gateway, job_id) == on_one_machine
            assert gateway.get(f"/v1/jobs/{job_id}/overlay_files/0/0_0.png").status_code == 200
    assert far.get(f"/v1/slides/{slides[0]}/slide_files/9/0_0.jpeg").status_code == 200
    for host in WORKERS:
        assert len(apart.copies(host)) == 1, "there is room for one"
        assert not (apart.folder / host / "slides").exists() or not any((apart.folder / host / "slides").iterdir())
    for gateway, path in ((far, f"slides/{slides[0]}"), (far, f"jobs/{of_first[0]}"), (near, f"jobs/{of_far}")):
        assert gateway.delete(f"/v1/{path}").json()["error"]["code"] == "on_another_host"
    for slide_id in slides:
        assert near.delete(f"/v1/slides/{slide_id}").status_code == 204
    awaited(lambda: agree(apart, [], [of_far]))
    assert far.delete(f"/v1/jobs/{of_far}").status_code == 204
    awaited(lambda: agree(apart, [], []))
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
