"""Where Redis is: what an address means, and which are refused without a word of it."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis.connection import SSLConnection, UnixDomainSocketConnection
from redis.sentinel import SentinelConnectionPool, SentinelManagedConnection, SentinelManagedSSLConnection

from workers.core.errors.base import LDiffusionError, QueueUnavailable, RequestInvalid
from workers.core.queue import keys
from workers.core.queue.events import events_key
from workers.core.queue.exchange import connect, connect_async
from workers.core.queue.keys import JobKeys, turns_key, worker_key
from workers.core.queue.worker import AWAY_S, QueueWorker
from workers.core.settings import Settings

SENTINELS = "redis+sentinel://us%40er:p%3Aw@one:1,two,[::1]:3/main/4?sentinel_username=su&sentinel_password=s%40p"


def test_one_server() -> None:
    pool = connect("redis://user:p%40ss@host:7/3", Settings()).connection_pool
    told = {name: pool.connection_kwargs[name] for name in ("host", "port", "db", "username", "password")}
    assert told == {"host": "host", "port": 7, "db": 3, "username": "user", "password": "p@ss"}
    pool = connect("unix:///a/path", Settings()).connection_pool
    assert (pool.connection_class, pool.connection_kwargs["path"]) == (UnixDomainSocketConnection, "/a/path")


def test_sentinels_with_a_password_of_their_own() -> None:
    pool = connect(SENTINELS, Settings()).connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    assert (pool.service_name, pool.connection_class) == ("main", SentinelManagedConnection)
    told = {name: pool.connection_kwargs[name] for name in ("db", "username", "password", "socket_timeout")}
    assert told == {"db": 4, "username": "us@er", "password": "p:w", "socket_timeout": 30.0}
    asked = [each.connection_pool.connection_kwargs for each in pool.sentinel_manager.sentinels]
    assert [(each["host"], each["port"]) for each in asked] == [("one", 1), ("two", 26379), ("::1", 3)]
    assert {(each["username"], each["password"], each["socket_timeout"]) for each in asked} == {("su", "s@p", 5.0)}


def test_the_same_in_an_event_loop() -> None:
    async def ask() -> tuple[str, Any]:
        client = connect_async(SENTINELS, Settings(), 45.0)
        return client.connection_pool.service_name, client.connection_pool.connection_kwargs["socket_timeout"]

    assert asyncio.run(ask()) == ("main", 45.0)


@pytest.mark.parametrize("url", ["rediss://host", "rediss+sentinel://host/main"])
def test_tls_checks_the_server_and_shows_a_certificate(url: str, tmp_path: Path) -> None:
    names = ("redis_ca_file", "redis_cert_file", "redis_key_file")
    files: dict[str, Any] = {name: str(tmp_path / name) for name in names}
    for path in files.values():
        Path(path).touch()
    pool = connect(url, Settings(**files)).connection_pool
    assert issubclass(pool.connection_class, SSLConnection)
    shown = [pool.connection_kwargs[name] for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")]
    assert shown == list(files.values())
    if isinstance(pool, SentinelConnectionPool):
        assert pool.connection_class is SentinelManagedSSLConnection
        (sentinel,) = pool.sentinel_manager.sentinels
        assert issubclass(sentinel.connection_pool.connection_class, SSLConnection)
        assert sentinel.connection_pool.connection_kwargs["ssl_ca_certs"] == shown[0]
    connection = pool.connection_class(**{**pool.connection_kwargs, "host": "host", "port": 1})
    assert (connection.cert_reqs.name, connection.check_hostname) == ("CERT_REQUIRED", True)


@pytest.mark.parametrize(
    ("url", "changes"),
    [
        ("secret", {}),
        ("http://secret", {}),
        ("redis://secret:port/0", {}),
        ("redis://host?db=secret", {}),
        ("redis+sentinel://secret:26379", {}),
        ("redis+sentinel://secret@/main", {}),
        ("redis+sentinel://:secret@host,/main", {}),
        ("redis+sentinel://:secret@host:port/main", {}),
        ("redis+sentinel://:secret@host/main/one", {}),
        ("redis+sentinel://:secret@host/main?sentinel_pasword=secret", {}),
        ("redis+sentinel://:secret@host/main#1", {}),
        ("redis://:secret@host", {"redis_ca_file": __file__}),
        ("rediss://:secret@host", {"redis_ca_file": "/nowhere"}),
        ("rediss://:secret@host", {"redis_key_file": __file__}),
    ],
)
def test_what_makes_no_sense_is_refused_without_a_word_of_the_address(url: str, changes: dict[str, Any]) -> None:
    makes: list[Callable[[str, Settings], Any]] = [connect, partial(connect_async, answer_s=1.0)]
    for make in makes:
        with pytest.raises(RequestInvalid, match=r"^redis_") as refused:
            make(url, Settings(**changes))
        said: LDiffusionError = refused.value
        assert "secret" not in f"{said} {said.value} {said.accepted} {said.__cause__}"


def test_no_key_that_workers_need_has_a_name_of_the_gateways() -> None:
    """They may not touch `ldiffusion:k…`: docker/redis/users.acl."""
    names = [value for value in vars(keys).values() if isinstance(value, str)]
    made = JobKeys("0").working, turns_key("batch", "plan"), worker_key("0"), events_key("0")
    assert not [name for name in (*names, *made[0], *made[1:]) if name.startswith("ldiffusion:k")]


def test_no_address_is_no_queue() -> None:
    with pytest.raises(QueueUnavailable, match="No queue address"):
        connect("", Settings())


def test_a_worker_asks_a_queue_that_was_away_for_long_again_soon() -> None:
    assert QueueWorker.max_connection_wait_time == AWAY_S == 2.0
