"""Limits of the containers against what the program may take by its own settings, and the versions of the images."""

import re
from typing import Any

import pytest
from dockerfiles import ROOT, arguments, compose, service

from server.intake.admission import PROBES_AT_ONCE
from workers.core.settings import Settings
from workers.core.sizing.memory import PROCESS_BYTES, WORKERS_SHARE
from workers.core.slides.readers.pictures import MAX_PX

SERVER, WORKER = ROOT / "docker" / "server.Dockerfile", ROOT / "docker" / "worker.Dockerfile"
SERVICES = sorted(compose()["services"])


def default(value: object) -> str:
    """What stands in a value of the compose file where the variable is not set."""
    return re.sub(r"\$\{\w+:-(.*?)}", r"\1", str(value))


def in_bytes(size: str) -> int:
    found = re.fullmatch(r"(\d+)([mg])b?", size)
    assert found is not None
    return int(found[1]) << {"m": 20, "g": 30}[found[2]]


def tmpfs_bytes(found: dict[str, Any]) -> int:
    (line,) = found["tmpfs"]
    return in_bytes(re.fullmatch(r"/tmp:mode=1777,size=(\w+)", line)[1])  # type: ignore[index]


@pytest.mark.parametrize("name", SERVICES)
def test_service_has_limits_of_memory_processors_and_processes(name: str) -> None:
    found = service(name)
    assert in_bytes(default(found["mem_limit"])) >= 2**30
    assert 0 < float(default(found["cpus"])) <= 4
    assert 0 < found["pids_limit"] <= 1024
    assert tmpfs_bytes(found) <= in_bytes(default(found["mem_limit"])) / 8


def test_memory_of_the_gateway_is_that_of_all_its_children_at_once() -> None:
    settings = Settings()
    tile_child = settings.tile_memory_bytes + 10 * MAX_PX
    children = PROBES_AT_ONCE * settings.probe_memory_bytes + settings.tile_children * tile_child
    found = service("server")
    gateway_itself = 2**30
    assert in_bytes(default(found["mem_limit"])) >= children + gateway_itself + tmpfs_bytes(found)
    processes = settings.tile_children + settings.slide_handles + PROBES_AT_ONCE
    assert found["pids_limit"] >= 8 * processes + settings.tile_threads + 128  # threads of pools and of libraries


@pytest.mark.parametrize("name", ["worker-cpu", "worker-gpu"])
def test_what_a_worker_may_take_fits_its_container(name: str) -> None:
    found = service(name)
    limit = in_bytes(default(found["mem_limit"]))
    assert limit * WORKERS_SHARE + tmpfs_bytes(found) <= limit
    assert limit * WORKERS_SHARE > 2 * PROCESS_BYTES
    threads = int(default(found["environment"].get("LDIFFUSION_TORCH_THREADS", "1")))
    assert 0 < threads <= float(default(found["cpus"]))


def test_a_full_queue_refuses_and_is_not_killed() -> None:
    found = service("redis")
    most = in_bytes(re.search(r"maxmemory (\w+)", found["command"][2])[1])  # type: ignore[index]
    assert 2 * most <= in_bytes(default(found["mem_limit"]))
    assert "noeviction" in found["command"][2]


def test_every_image_has_a_full_version_and_a_place_for_its_digest() -> None:
    built = {name: service(name)["build"]["args"] for name in SERVICES if "build" in service(name)}
    images = [
        service("redis")["image"],
        *(args[key] for args in built.values() for key in ("BASE", "NODE") if key in args),
    ]
    assert len(images) == 5
    for image in images:
        assert re.fullmatch(r"[a-z/]+:\d+\.\d+(\.\d+)?[\w.-]*\$\{LDIFFUSION_[A-Z]+_DIGEST:-}", image), image
        assert default(image).startswith("ubuntu:") or re.search(r":\d+\.\d+\.\d+", default(image)), image
    for dockerfile, name in ((SERVER, "server"), (WORKER, "worker-gpu")):
        defaults = dict(rest.split("=", 1) for rest in arguments(dockerfile, "ARG") if "=" in rest)
        assert {key: default(value) for key, value in built[name].items()}.items() <= defaults.items()
