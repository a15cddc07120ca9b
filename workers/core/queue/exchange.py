"""How this project talks to Redis: where it is, one error when it does not answer, transactions, hashes as text.

It is one server, with TLS or without, or the primary that a Sentinel names:

    redis://[user:password@]host[:port][/db]                           rediss://…             by TLS
    unix://[user:password@]/path
    redis+sentinel://[user:password@]host[:port],…/name[/db]           rediss+sentinel://…    by TLS, Sentinels too

User and password are those of the servers; for Sentinels that want some: `?sentinel_username=…&sentinel_password=…`.
"""

import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import redis
import redis.asyncio
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.connection import Connection, SSLConnection
from redis.exceptions import ReadOnlyError, RedisError
from redis.sentinel import Sentinel

from workers.core.errors.base import QueueUnavailable, RequestInvalid
from workers.core.settings import Settings

ANSWER_S = 30.0
"""How long a command may take, waiting for a task included."""

CONNECT_S = 5.0
SENTINEL_PORT = 26379
PLAIN, TLS = ("redis", "unix"), ("rediss",)
PLAIN_SENTINEL, TLS_SENTINEL = "redis+sentinel", "rediss+sentinel"
ACCEPTED = "redis://, rediss:// or unix:// address, or redis+sentinel://host,host/name"
OF_SENTINELS = {"sentinel_username": "username", "sentinel_password": "password"}

Options = dict[str, Any]
Transaction = Any
"""A redis pipeline. Its stubs call every reply bytes or text; ours are bytes, always."""

T = TypeVar("T")


class _Leaving(Connection):
    """A connection to a primary, which may become a replica: then the name is looked up again before the next command.

    Behind the name of a managed service another server is the primary then. Those that Sentinels name do the same.
    """

    def read_response(self, *asked: Any, **options: Any) -> Any:
        """Read one answer."""
        try:
            return super().read_response(*asked, **options)
        except ReadOnlyError:
            self.mark_for_reconnect()  # type: ignore[no-untyped-call]  # once released: more answers may follow
            raise


class _LeavingByTLS(_Leaving, SSLConnection):
    """The same by TLS."""


LEAVING: dict[type, type] = {Connection: _Leaving, SSLConnection: _LeavingByTLS}


class _Watched(NamedTuple):
    """A primary that Sentinels name."""

    sentinels: list[tuple[str, int]]
    name: str
    of_sentinels: Options
    of_server: Options


def connect(url: str, settings: Settings) -> Any:
    """Return a client of Redis; nothing is asked yet.

    Raises:
        QueueUnavailable: There is no address.
        RequestInvalid: Address or settings make no sense. The message holds no part of the address: it has a password.
    """
    options = _options(url, settings, ANSWER_S)
    if isinstance(options, _Watched):
        return _primary(Sentinel, options)
    client = _checked(redis.Redis.from_url, url, options)
    pool = client.connection_pool
    pool.connection_class = LEAVING.get(pool.connection_class, pool.connection_class)
    return client


def connect_async(url: str, settings: Settings, answer_s: float) -> Any:
    """Return a client for an event loop, of which a command may take so long; see `connect`."""
    options = _options(url, settings, answer_s)
    if isinstance(options, _Watched):
        return _primary(AsyncSentinel, options)
    return _checked(redis.asyncio.Redis.from_url, url, options)


def reason_of(error: RedisError) -> str:
    """Return why Redis did not answer, without an address: the kind of error, and what TLS has to say of it."""
    cause = error.__cause__ or error.__context__
    if not isinstance(cause, ssl.SSLError):
        return type(error).__name__
    said = cause.verify_message if isinstance(cause, ssl.SSLCertVerificationError) else cause.reason
    return f"{type(cause).__name__}: {said.partition(',')[0]}" if said else type(cause).__name__  # no name of a host


@contextmanager
def answering() -> Iterator[None]:
    """Turn any refusal of Redis into one error of ours.

    Raises:
        QueueUnavailable: Redis does not answer, or cannot write.
    """
    try:
        yield
    except RedisError as error:
        raise QueueUnavailable(f"The queue does not answer ({reason_of(error)}).") from error


def transact(client: Any, body: Callable[[Transaction], T], *watched: str) -> T:
    """Run `body`, which reads, calls `multi` and writes, until no one else changed a watched key meanwhile.

    Raises:
        QueueUnavailable: Redis does not answer.
    """
    with answering():
        result: T = client.transaction(body, *watched, value_from_callable=True)
        return result


def decode(record: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return a Redis hash as text."""
    return {key.decode(): value.decode() for key, value in record.items()}


def _options(url: str, settings: Settings, answer_s: float) -> Options | _Watched:
    """Return what a connection is made with besides the address; for Sentinels, all of it."""
    if not url:
        raise QueueUnavailable("No queue address is set.", accepted="LDIFFUSION_REDIS_URL, or `ldiffusion serve`")
    scheme = url.partition("://")[0]
    if scheme not in (*PLAIN, *TLS, PLAIN_SENTINEL, TLS_SENTINEL):
        raise RequestInvalid("redis_url: that is no address of Redis.", accepted=ACCEPTED)
    times = {"socket_connect_timeout": CONNECT_S, "socket_timeout": answer_s}
    files = _tls_files(settings, has_tls=scheme in (*TLS, TLS_SENTINEL))
    if scheme in (*PLAIN, *TLS):
        return times | files
    return _checked(_watched, url, times | files | ({"ssl": True} if scheme == TLS_SENTINEL else {}))


def _primary(kind: Any, asked: _Watched) -> Any:
    sentinel = kind(asked.sentinels, sentinel_kwargs=asked.of_sentinels, **asked.of_server)
    return sentinel.master_for(asked.name)


def _checked(make: Callable[..., T], url: str, options: Options) -> T:
    try:
        return make(url, **options)
    except (ValueError, TypeError):  # what they say holds parts of the address
        raise RequestInvalid("redis_url: that is no address of Redis.", accepted=ACCEPTED) from None


def _watched(url: str, **options: Any) -> _Watched:
    """Read an address of Sentinels.

    Raises:
        ValueError: It is none.
    """
    parts = urlsplit(url)
    who, _, where = parts.netloc.rpartition("@")
    name, _, db = unquote(parts.path).strip("/").partition("/")
    asked = parse_qsl(parts.query, strict_parsing=True) if parts.query else []
    if not name or parts.fragment or not OF_SENTINELS.keys() >= {key for key, _ in asked}:
        raise ValueError("no name, or something besides")
    of_sentinels = {OF_SENTINELS[key]: value for key, value in asked}
    sentinels = [_host(urlsplit(f"//{each}")) for each in where.split(",")]
    user, _, password = who.partition(":")
    of_server = {"username": unquote(user), "password": unquote(password)}
    return _Watched(
        sentinels,
        name,
        options | {"socket_timeout": CONNECT_S} | of_sentinels,
        options | _given(of_server) | {"db": int(db or 0)},
    )


def _host(parts: SplitResult) -> tuple[str, int]:
    if not parts.hostname:
        raise ValueError("no host")
    return parts.hostname, parts.port or SENTINEL_PORT


def _given(options: Mapping[str, str]) -> Options:
    return {name: value for name, value in options.items() if value}


def _tls_files(settings: Settings, *, has_tls: bool) -> Options:
    """Return the files of TLS, all of which are there."""
    named = {
        "ssl_ca_certs": ("redis_ca_file", settings.redis_ca_file),
        "ssl_certfile": ("redis_cert_file", settings.redis_cert_file),
        "ssl_keyfile": ("redis_key_file", settings.redis_key_file),
    }
    files = {option: (setting, path) for option, (setting, path) in named.items() if path}
    for setting, path in files.values():
        if not has_tls:
            raise RequestInvalid(f"{setting}: the queue is not reached by TLS.", accepted="a rediss:// address")
        if not Path(path).is_file():
            raise RequestInvalid(f"{setting}: there is no such file.", value=path, accepted="a file of PEM")
    if "ssl_keyfile" in files and "ssl_certfile" not in files:
        raise RequestInvalid("redis_key_file: its certificate is missing.", accepted="redis_cert_file as well")
    return {option: path for option, (_, path) in files.items()}
