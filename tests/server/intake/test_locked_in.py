"""What a child that looks at slides may still do, asked in one that locked itself in."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

LOCKED_IN = """
import json, resource, socket, sys
from workers.core.confinement.lock import RULES, Limits, lock_in
rules = RULES - {"files"}  # it asks /proc
if len(sys.argv) > 2:  # the namespace alone
    rules -= {"network"}
lock_in(Limits(cpu_s=7, memory_bytes=2**31), rules=rules)
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=5).close()
    reached = True
except OSError:
    reached = False
names = ("AS", "CPU", "FSIZE", "NOFILE", "CORE")
limits = {name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}")) for name in names}
flags = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
print(json.dumps({"reached": reached, "limits": limits, "no_new_privs": flags["NoNewPrivs"]}))
"""


def locked_in(port: int, *alone: str) -> dict[str, object]:
    """What a process finds that locked itself in as the child does."""
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", LOCKED_IN, str(port), *alone],
        env={"PYTHONPATH": str(root), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_the_child_is_locked_in() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = locked_in(server.getsockname()[1])
    sizes = {"AS": [2**31, 2**31], "FSIZE": [2**20, 2**20], "CORE": [0, 0]}
    assert found["limits"] == sizes | {"CPU": [7, 7], "NOFILE": [64, 64]}
    assert found["no_new_privs"] == "1"


def test_the_child_has_no_network_where_the_kernel_lets_it_drop_it() -> None:
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this kernel gives no network namespace")
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert locked_in(server.getsockname()[1], "alone")["reached"] is False
