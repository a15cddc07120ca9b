"""A backup taken while a job runs, by the commands of docs/reliability.md, and a server that goes on from it."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_fixtures import Faulted, label_files, serving
from fault_processes import awaited

from server.jobs.doctor import Doctor
from server.process.embedded_redis import socket_path
from workers.core.queue.jobs import Jobs
from workers.core.store import Store

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]

MAY_DIFFER = {"timings_s", "finished_at", "files", "sizes_bytes"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, fault_slide: Path) -> Iterator[Faulted]:
    with serving(tmp_path_factory, fault_slide) as serve:
        yield serve()


@pytest.fixture(scope="module")
def commands(repo_root: Path) -> tuple[str, str]:
    """What the document says to back up, and to restore but for starting the server."""
    section = (repo_root / "docs" / "reliability.md").read_text().partition("## Backup")[2]
    back_up, restore = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)[:2]
    return back_up, restore.splitlines()[0]


def ran(command: str, data_dir: Path, backup: Path) -> None:
    environment = os.environ | {"LDIFFUSION_DATA_DIR": str(data_dir), "BACKUP": str(backup)}
    subprocess.run(["bash", "-euc", command], env=environment, check=True)


@pytest.mark.parametrize("stage", ["plan", "region", "finish"])
def test_a_job_of_a_backup_finishes_with_the_same_bytes(
    server: Faulted, commands: tuple[str, str], tmp_path: Path, stage: str
) -> None:
    job_id = server.submit()
    awaited(lambda: server.at_work(stage, job_id))
    if stage == "region":
        awaited(lambda: server.view(job_id)["regions_done"] > 2)
    ran(commands[0], server.data_dir, tmp_path / "backup.tar")
    assert server.ended(job_id)["state"] == "succeeded"

    restored = Faulted(tmp_path, server.slide, models_dir=server.settings.models_dir)
    ran(commands[1], restored.data_dir, tmp_path / "backup.tar")
    assert not {"queue", "incoming", "uploads", "trash"} & {path.name for path in restored.data_dir.iterdir()}
    has_ended = (restored.data_dir / "jobs" / job_id / "result.json").exists()
    assert not has_ended, "the backup was taken too late to show anything"
    restored.start()
    try:
        assert restored.ended(job_id)["state"] == "succeeded"
        once, again = (Store(each.data_dir).read_result(job_id) for each in (server, restored))
        assert again.files == once.files
        assert len(again.files) > 5
        assert again.model_dump(exclude=MAY_DIFFER) == once.model_dump(exclude=MAY_DIFFER)
        assert label_files(restored.data_dir, job_id) == server.reference
        is_sound(restored)
    finally:
        restored.end()


def is_sound(server: Faulted) -> None:
    queue = Jobs(f"unix://{socket_path((server.data_dir / 'queue').resolve())}", server.settings)
    try:
        assert list(Doctor(queue, digests=True).findings()) == []
    finally:
        queue.close()
