"""The shape of the project: who imports whom, how large a file is, what the documents promise."""

import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from workers.core.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("server", "workers", "models", "client")
SOURCES = sorted(path for name in (*PACKAGES, "benchmarks", "tests") for path in (ROOT / name).rglob("*.py"))
FILE_LINES = 300
MAY_BE_LONGER: dict[str, str] = {}
"""Files past `FILE_LINES` that would read worse in two, by their path from the root, and why."""
FOLDER_MODULES = 18
"""As many modules a reader finds his way in without a map; the fullest folders of well-kept projects have as many."""
HEAVY = ("torch", "torchvision", "timm", "diffusers", "safetensors")
GATEWAY = ("server.app", "server.cli.main", "workers.core.queue.jobs", "server.intake.probe")

# A finder in front of all others: an import of a heavy package fails even where the package is installed.
BLOCK_AND_IMPORT = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {heavy!r}:
            raise ImportError("blocked: " + name)
sys.meta_path.insert(0, Block())
import {module}
"""


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.process
@pytest.mark.parametrize("module", [*GATEWAY, "models.folder"])
def test_gateway_imports_where_torch_cannot_be_imported(module: str) -> None:
    done = run_python(BLOCK_AND_IMPORT.format(heavy=HEAVY, module=module))
    assert done.returncode == 0, done.stderr


@pytest.mark.process
def test_the_client_is_imported_without_server_queue_and_pixels() -> None:
    done = run_python("import ldiffusion_client, sys; print(*sys.modules)")
    assert done.returncode == 0, done.stderr
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"server", "workers", "models", "redis", "rq", "numpy", "click", "tqdm"}
    assert not loaded & {"httpx", "anyio"}, "they are imported with the first client: it would take twice as long"


@pytest.mark.process
def test_the_block_blocks() -> None:
    done = run_python(BLOCK_AND_IMPORT.format(heavy=HEAVY, module="torch"))
    assert done.returncode != 0
    assert "blocked: torch" in done.stderr


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    command = Path(sys.executable).with_name("lint-imports")
    return subprocess.run([command, "--no-cache"], cwd=root, capture_output=True, text=True, check=False)


@pytest.mark.process
def test_import_contracts_hold() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.process
@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("models/settings.py", "import torch", "gateway-without-torch"),
        ("models/folder.py", "import models.checkpoint", "gateway-without-torch"),
        ("workers/core/sizing/preflight.py", "import models.folder", "inference-is-the-door"),
        ("workers/core/model/catalogue.py", "import models.config", "inference-is-the-door"),
        ("workers/validate/compare.py", "import models.training.evaluation.evaluate", "inference-is-the-door"),
    ],
)
def test_the_door_to_the_schema_of_model_folders_lets_nothing_else_through(
    tmp_path: Path, module: str, line: str, broken: str
) -> None:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("zoo", "static"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / module).write_text(f"{line}\n{(tmp_path / module).read_text()}")
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (name,) = (each["name"] for each in contracts if each["id"] == broken)
    assert f"{name} BROKEN" in " ".join(done.stdout.split())


def test_init_files_are_empty() -> None:
    """But that of the client: it is the face of a package that others install, and gives out what is public there."""
    inits = [path for path in SOURCES if path.name == "__init__.py"]
    assert {path.parent.name for path in inits} >= {"server", "workers", "models", "ldiffusion_client"}
    assert [path for path in inits if path.read_text()] == [ROOT / "client" / "ldiffusion_client" / "__init__.py"]


def test_tests_and_docker_are_no_packages() -> None:
    """`tests/models/__init__.py` would shadow `models`, `docker/__init__.py` the Docker SDK."""
    assert [path for name in ("tests", "docker") for path in (ROOT / name).rglob("__init__.py")] == []


def test_files_fit_in_the_budget() -> None:
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCES}
    longer = {path: count for path, count in lines.items() if count > FILE_LINES}
    assert {path: count for path, count in longer.items() if path not in MAY_BE_LONGER} == {}
    assert MAY_BE_LONGER.keys() - longer.keys() == set(), "these fit by now: take them out of MAY_BE_LONGER"
    assert all(MAY_BE_LONGER.values()), "an exception has a reason"


def test_no_folder_is_a_hall() -> None:
    folders = Counter(path.parent for path in SOURCES if path.name != "__init__.py")
    rooms = {str(folder.relative_to(ROOT)): count for folder, count in folders.items()}
    rooms = {name: count for name, count in rooms.items() if name.partition("/")[0] in (*PACKAGES, "client")}
    assert len(rooms) > 20
    assert {name: count for name, count in rooms.items() if count > FOLDER_MODULES} == {}


def test_every_setting_is_documented_as_it_is() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    rows = dict(re.findall(r"^\| `(LDIFFUSION_[A-Z0-9_]+)` \|[^|]*\| (.*?) \|$", text, flags=re.MULTILINE))
    assert rows == {f"LDIFFUSION_{name.upper()}": field.description for name, field in Settings.model_fields.items()}
