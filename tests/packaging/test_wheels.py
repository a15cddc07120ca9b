"""Both wheels in environments of their own: what is in them is enough, and what is missing is said in one sentence.

Builds and installs, so it wants a package index; where there is none it says so and is skipped.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from wanted import absent

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[2]
PINS = ("-c", str(ROOT / "constraints.txt"))
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

ASK = """
import sys
from ldiffusion_client import Client, RemoteError
assert not {"redis", "rq", "numpy", "server", "workers", "httpx"} & sys.modules.keys()
try:
    Client("http://127.0.0.1:1").models()
except RemoteError as error:
    print(error.code, error.message)
"""


def run(*command: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run a command where nothing of the checkout can be imported."""
    return subprocess.run(command, cwd=ROOT.anchor, env=ENVIRONMENT, capture_output=True, text=True, check=False)


def pip(*arguments: str | Path) -> None:
    """Run pip; where it reaches no index, skip the test."""
    done = run(sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments)
    if done.returncode != 0 and "No matching distribution" in done.stderr:
        absent("index", done.stderr.strip().rpartition("\n")[2])
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the wheels by the names of their distributions."""
    folder = tmp_path_factory.mktemp("wheels")
    pip("wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT, ROOT / "client")
    return {path.name.partition("-")[0]: path for path in folder.iterdir()}


def bare(folder: Path) -> Path:
    """Make an environment with nothing in it, and return its folder of programs."""
    done = run(sys.executable, "-m", "venv", "--without-pip", folder)
    assert done.returncode == 0, done.stderr
    return folder / "bin"


@pytest.fixture(scope="module")
def client_bin(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs of an environment that has the client and what it asks for."""
    programs = bare(tmp_path_factory.mktemp("client"))
    pip("--python", programs / "python", "install", "--quiet", *PINS, wheels["ldiffusion_client"])
    return programs


@pytest.fixture(scope="module")
def server_bin(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs of an environment that has the server without extras, and of its base what the command line needs."""
    programs = bare(tmp_path_factory.mktemp("server"))
    small = ("click", "pydantic", "pydantic-settings")  # the others are large, and no sentence is about them
    pip("--python", programs / "python", "install", "--quiet", *PINS, *small)
    pip("--python", programs / "python", "install", "--quiet", "--no-deps", wheels["ldiffusion_server"])
    return programs


def test_the_two_have_the_same_version(wheels: dict[str, Path]) -> None:
    versions = {path.name.split("-")[1] for path in wheels.values()}
    assert (len(wheels), len(versions)) == (2, 1)


def test_the_client_alone_asks_a_server(client_bin: Path) -> None:
    done = run(client_bin / "python", "-c", ASK)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("server_unreachable No answer from http://127.0.0.1:1")
    assert done.stdout.count("\n") == 1


def test_the_command_tells_of_itself_without_any_extra(server_bin: Path) -> None:
    done = run(server_bin / "ldiffusion", "--help")
    assert done.returncode == 0, done.stderr
    assert "submit" in done.stdout


@pytest.mark.parametrize(
    ("line", "extra"),
    [
        ("serve", "server"),
        ("keys list", "server"),
        ("worker", "worker"),
        ("segment slide.svs -o out", "worker"),
        ("train recipe.toml", "train"),
        (f"submit {__file__} -o out", "client"),
        ("demo", "client"),
    ],
)
def test_a_command_whose_extra_is_missing_names_it(server_bin: Path, line: str, extra: str) -> None:
    done = run(server_bin / "ldiffusion", *line.split())
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: extra_missing: `ldiffusion ")
    assert f"pip install 'ldiffusion-server[{extra}]'" in done.stderr
