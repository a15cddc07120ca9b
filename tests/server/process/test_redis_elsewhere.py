"""The chain on a Redis that is elsewhere: by TLS, with a user for each role, and behind a Sentinel that fails over."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from fault_fixtures import Faulted, label_files, serving
from fault_processes import awaited
from https_files import make_certificate
from lan_clients import Labels
from redis_servers import LOCAL, RedisServer, running, tls_before
from wanted import program

from server.jobs.doctor import Doctor
from server.process.children import module_environment
from workers.core.errors.base import QueueUnavailable
from workers.core.queue.exchange import transact
from workers.core.queue.jobs import Jobs
from workers.core.settings import Settings

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(300)]

ME = "tests/server/process/test_redis_elsewhere.py"
PASSWORDS = {"gateway": "of-the-gateway", "worker": "of-the-worker"}
NOPERM = r"(?i)no permissions|NOPERM"
NOT_FOR_WORKERS = [
    *(("FLUSHALL",), ("FLUSHDB",), ("KEYS", "*"), ("SCAN", "0"), ("RANDOMKEY",), ("MONITOR",), ("SHUTDOWN",)),
    *(("CONFIG", "GET", "*"), ("CONFIG", "SET", "dir", "/tmp"), ("ACL", "LIST"), ("ACL", "SETUSER", "worker", "+@all")),
    *(("SCRIPT", "FLUSH"), ("FUNCTION", "FLUSH"), ("CLIENT", "LIST"), ("CLIENT", "KILL", "TYPE", "normal")),
    *(("REPLICAOF", "192.0.2.1", "6379"), ("MODULE", "LIST"), ("SAVE",), ("SWAPDB", "0", "1")),
    *(("PUBLISH", "any", "x"), ("SUBSCRIBE", "any"), ("GET", "another"), ("SET", "another", "x")),
    *(("DEL", "ldiffusion:key:job:0"), ("EVAL", "return redis.call('GET', 'another')", "0")),
]
NOT_FOR_GATEWAYS = [command for command in NOT_FOR_WORKERS if command[0] != "DEL"]


def free_port() -> int:
    with socket.create_server((LOCAL, 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture
def serve(tmp_path_factory: pytest.TempPathFactory, fault_slide: Path) -> Iterator[Callable[..., Faulted]]:
    with serving(tmp_path_factory, fault_slide) as run:
        yield run


@pytest.fixture
def users(tmp_path: Path, repo_root: Path) -> Path:
    """A file of users, made as docs/deploy.md says."""
    section = (repo_root / "docs" / "deploy.md").read_text().partition("## Redis elsewhere")[2]
    (command,) = re.findall(rf"run by: {ME} -->\n```sh\n(.*?)```", section, re.DOTALL)
    told = {f"{role.upper()}_PASSWORD": password for role, password in PASSWORDS.items()}
    done = tmp_path / "users.acl"
    script = command.replace("docker/redis", str(repo_root / "docker" / "redis"))
    subprocess.run(["bash", "-euc", script], cwd=tmp_path, env=os.environ | told, check=True)
    return done


@pytest.fixture
def server(users: Path, tmp_path: Path) -> Iterator[RedisServer]:
    """A server with these users, and one for whoever runs it."""
    users.write_text(users.read_text() + "user operator on >of-the-operator ~* &* +@all\n")
    made = RedisServer(tmp_path / "redis", free_port(), f"aclfile {users}", "maxmemory-policy noeviction")
    with running(made):
        yield made


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Certificates and keys of a server at `localhost`, and of its clients."""
    program("openssl")
    for name in ("server", "client"):
        (tmp_path / name).mkdir()
    (key, certificate), (own_key, own) = (
        make_certificate(tmp_path / name, "localhost") for name in ("server", "client")
    )
    return {"key": key, "redis_ca_file": certificate, "redis_cert_file": own, "redis_key_file": own_key}


@pytest.fixture
def tls_port(server: RedisServer, files: dict[str, Path]) -> Iterator[int]:
    """Port on which the server is reached by TLS."""
    with tls_before(server.port, files["redis_ca_file"], files["key"], files["redis_cert_file"]) as port:
        yield port


def settings_of(files: dict[str, Path]) -> dict[str, Any]:
    return {name: str(path) for name, path in files.items() if name.startswith("redis")}


def url_of(role: str, port: int) -> str:
    return f"rediss://{role}:{PASSWORDS[role]}@localhost:{port}/0"


def test_workers_may_do_nothing_to_the_server_and_to_what_is_not_theirs(server: RedisServer) -> None:
    with server.client(username="worker", password=PASSWORDS["worker"]) as client:
        for command in NOT_FOR_WORKERS:
            with pytest.raises(redis.exceptions.ResponseError, match=NOPERM):
                client.execute_command(*command)
        assert client.ping()
    with server.client(username="gateway", password=PASSWORDS["gateway"]) as client:
        assert client.set("ldiffusion:key:job:0", "x")
        for command in NOT_FOR_GATEWAYS:
            with pytest.raises(redis.exceptions.ResponseError, match=NOPERM):
                client.execute_command(*command)
    with pytest.raises(redis.exceptions.AuthenticationError), server.client() as nobody:
        nobody.ping()
    assert _denied(server)


def test_tls_wants_its_files(tls_port: int, files: dict[str, Path], tmp_path: Path) -> None:
    named = settings_of(files)
    url = url_of("gateway", tls_port)
    Jobs(url, Settings(data_dir=tmp_path, **named)).ping()
    without = (
        {"redis_ca_file": ""},
        {"redis_ca_file": named["redis_cert_file"]},
        {"redis_cert_file": "", "redis_key_file": ""},
    )
    verified = "SSLCertVerificationError: self-signed certificate"
    for changes, said in zip(without, (verified, verified, "Error"), strict=True):
        with pytest.raises(QueueUnavailable, match=said) as refused:
            Jobs(url, Settings(data_dir=tmp_path, **named | changes)).ping()
        assert PASSWORDS["gateway"] not in str(refused.value)
    with pytest.raises(QueueUnavailable, match=r"IP address mismatch\)"):
        Jobs(url.replace("localhost", LOCAL), Settings(data_dir=tmp_path, **named)).ping()


def test_the_chain_by_tls_with_a_user_for_each_role(
    serve: Callable[..., Faulted],
    server: RedisServer,
    tls_port: int,
    files: dict[str, Path],
    tmp_path: Path,
    on_one_machine: Labels,
) -> None:
    named = settings_of(files)
    started: list[subprocess.Popen[bytes]] = []
    worker = url_of("worker", tls_port)
    try:
        gateway = serve(
            lambda faulted: started.append(_worker(faulted, worker, tmp_path / "worker.log")),
            **named, redis_url=url_of("gateway", tls_port), workers=0,
        )  # fmt: skip
        assert gateway.reference == on_one_machine.array
        job_id = gateway.submit()
        assert [kind for _, kind, _ in gateway.events(job_id, "")][-1] == "end"
        assert gateway.ended(job_id)["state"] == "succeeded"
        assert label_files(gateway.data_dir, job_id) == gateway.reference
        canceled = gateway.submit(priority="batch")
        awaited(lambda: gateway.view(canceled)["state"] == "running")
        assert gateway.ask("DELETE", f"/v1/jobs/{canceled}").status_code == 200
        assert gateway.ended(canceled)["state"] == "canceled"
        assert gateway.ask("DELETE", f"/v1/jobs/{canceled}").status_code == 204
        assert list(Doctor(Jobs(url_of("gateway", tls_port), gateway.settings)).findings()) == []
        assert gateway.ask("GET", "/v1/system").status_code == 200
        assert gateway.ask("GET", "/metrics").status_code == 200
        assert _denied(server) == []
    finally:
        for process in started:
            process.kill()
            process.wait()


def _worker(server: Faulted, url: str, log: Path) -> "subprocess.Popen[bytes]":
    script = Path(__file__).parents[2] / "fixtures" / "fault_worker.py"
    settings = server.settings.model_copy(update={"redis_url": url})
    environment = module_environment(settings) | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(server.notes), "0.03"]
    with log.open("wb") as file:
        return subprocess.Popen(command, env=environment, stdout=file, stderr=file)


def _denied(server: RedisServer) -> list[tuple[str, str]]:
    """Who was refused what."""
    with server.client(username="operator", password="of-the-operator") as operator:
        return [(str(entry["username"]), str(entry["object"])) for entry in operator.acl_log()]


def test_a_primary_that_becomes_a_replica_is_left(tmp_path: Path) -> None:
    """As behind the one name of a managed service, which then leads to another."""
    first, second = (RedisServer(tmp_path / name, free_port()) for name in ("first", "second"))
    with running(first, second), first.client() as operator:
        jobs = Jobs(f"redis://{LOCAL}:{first.port}", Settings(data_dir=tmp_path / "data"))
        before = jobs.redis.client_id()
        for write in (
            lambda: jobs.redis.set("key", "x"),
            lambda: jobs.redis.eval("return redis.call('SET', KEYS[1], 'x')", 1, "key"),
            lambda: transact(jobs.redis, lambda pipe: (pipe.multi(), pipe.set("key", "x")), "key"),
        ):
            operator.replicaof(LOCAL, second.port)
            with pytest.raises((redis.exceptions.ReadOnlyError, QueueUnavailable)):
                write()
            operator.replicaof("NO", "ONE")
            write()
            assert jobs.redis.client_id() != before
            before = jobs.redis.client_id()
        jobs.close()


def test_a_primary_that_is_killed_in_the_middle_of_a_job(serve: Callable[..., Faulted], tmp_path: Path) -> None:
    ports = [free_port() for _ in range(3)]
    secret, sentinels = ["requirepass s", "masterauth s"], "requirepass t"
    primary = RedisServer(tmp_path / "primary", ports[0], *secret)
    replica = RedisServer(tmp_path / "replica", ports[1], *secret, f"replicaof {LOCAL} {ports[0]}")
    watch = f"sentinel monitor queue {LOCAL} {ports[0]} 1", "sentinel auth-pass queue s"
    times = "sentinel down-after-milliseconds queue 1000", "sentinel failover-timeout queue 5000"
    sentinel = RedisServer(tmp_path / "sentinel", ports[2], *watch, *times, sentinels, is_sentinel=True)
    with running(primary, replica, sentinel):
        awaited(lambda: _said(primary).get("slave0", {}).get("state") == "online", 20)
        nobody = free_port()
        url = f"redis+sentinel://:s@{LOCAL}:{nobody},{LOCAL}:{sentinel.port}/queue/0?sentinel_password=t"
        server = serve(redis_url=url, workers=2)
        awaited(lambda: _replicas_known(sentinel), 30)
        job_id = server.submit()
        awaited(lambda: server.view(job_id)["regions_done"] > 2)
        primary.kill()
        assert server.ended(job_id)["state"] == "succeeded"
        assert label_files(server.data_dir, job_id) == server.reference
        assert _said(replica)["role"] == "master"
        later = server.submit()
        assert [kind for _, kind, _ in server.events(later, "")][-1] == "end"
        assert server.ended(later)["state"] == "succeeded"
        assert sorted(str(view["id"]) for view in server.listed("jobs")) == sorted(server.jobs)


def _said(server: RedisServer) -> dict[str, Any]:
    with server.client(password="s") as client:
        said: dict[str, Any] = client.info("replication")
        return said


def _replicas_known(sentinel: RedisServer) -> bool:
    with sentinel.client(password="t") as client:
        return bool(client.sentinel_slaves("queue"))
