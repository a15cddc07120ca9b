"""What the server says of itself: to everybody how busy it is, to its operator who works."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from gateway_fixtures import GatewayWith
from job_requests import add_slide, submit

from ldiffusion_client import Client, Refused
from server.access.keys import Keys
from server.cli.main import main
from server.telemetry import looks
from workers.core.queue.jobs import Jobs
from workers.core.queue.leases import Leases
from workers.core.settings import Settings
from workers.core.store import Store, new_id
from workers.core.telemetry.status import WorkerStatus


@pytest.fixture(autouse=True)
def looked_at_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "KEPT_S", 0)
    monkeypatch.setattr(looks, "KEPT_TIMES", 0)


@pytest.fixture
def at_work(gateway_settings: Settings) -> Iterator[Leases]:
    """A worker that has shown a sign of life."""
    jobs = Jobs(gateway_settings.redis_url, gateway_settings)
    status = WorkerStatus("auto", lambda: 3 * 2**30)
    status.holds("made-model", "cpu")
    leases = Leases(jobs, new_id(), status)
    leases.beat()
    yield leases
    jobs.close()


def test_it_says_who_works_and_what_waits(gateway: httpx.Client, gateway_settings: Settings, at_work: Leases) -> None:
    slide_id = add_slide(Store(gateway_settings.data_dir), 0.5)
    for _ in range(3):
        submit(gateway, slide_id)
    with Client(str(gateway.base_url)) as client:
        told = client.system()
    assert (told.workers, told.models) == (1, ("made-model",))
    assert told.version == gateway.get("/openapi.json").json()["info"]["version"]
    load = {each.priority: each for each in told.queue}
    assert (load["interactive"].waiting, load["batch"].waiting) == (3, 0)
    assert 0 < load["interactive"].oldest_s < 60
    assert told.operator is not None
    (worker,) = told.operator.workers
    assert (worker.id, worker.model, worker.device) == (at_work.worker_id, "made-model", "cpu")
    assert (worker.memory_bytes, worker.memory_max_bytes) == (3 * 2**30, at_work.memory_bytes)
    disk = told.operator.storage
    assert disk is not None
    assert disk.used_bytes + disk.free_bytes == disk.size_bytes
    assert disk.reserve_bytes == gateway_settings.disk_reserve_bytes


def test_what_is_the_operators_needs_its_scope(gateway_settings: Settings, gateway_with: GatewayWith) -> None:
    gateway_settings.data_dir.mkdir()
    keys = Keys(gateway_settings.data_dir)
    _, plain = keys.create("one", "lab-a", ("read", "submit"))
    _, admin = keys.create("two", "monitoring", ("read", "admin"))
    with gateway_with(gateway_settings) as url:
        for token, is_told in ((plain, False), (admin, True)):
            with Client(url, token) as client:
                assert (client.system().operator is not None) is is_told
            answer = httpx.get(f"{url}/metrics", headers={"X-API-Key": token}, trust_env=False)
            assert answer.status_code == (200 if is_told else 403)
        assert httpx.get(f"{url}/metrics", trust_env=False).status_code == 401
        with Client(url, admin) as client:
            with pytest.raises(Refused):
                client.link("/metrics")
            link = client.link("/v1/system", life_s=60)
        told = httpx.get(link, trust_env=False).json()
    assert (told["workers"], told["operator"]) == (0, None), "a link shows what a tenant sees"


def test_the_command_prints_it(gateway: httpx.Client, at_work: Leases, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["system", "--server", str(gateway.base_url)])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].endswith("models: made-model")
    assert lines[1] == "1 workers, busy 0% of the last minute"
    assert lines[2].split()[:4] == ["interactive", "0", "jobs", "wait;"]
    assert lines[4].startswith(f"worker {at_work.worker_id}  made-model on cpu, busy 0%, 3.0 GiB of ")
    assert lines[5].startswith("disk: ")
