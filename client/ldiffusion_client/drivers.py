"""What does the steps of the protocol over httpx: one driver blocks, one awaits. Neither knows what they mean."""

import os
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, closing
from pathlib import Path
from typing import Any, TypeVar

import anyio
import httpx
from anyio import to_thread

from ldiffusion_client.errors import Refused, RemoteError, failure, unreachable
from ldiffusion_client.protocol import Answer, Ask, Body, Open, Pause, Read, Step, Steps, Work

TIMEOUT = httpx.Timeout(60.0, read=120.0)
KEY_VARIABLE = "LDIFFUSION_KEY"
CA_VARIABLE = "LDIFFUSION_CA_FILE"
T = TypeVar("T")


def connection_of(url: str, key: str | None, ca_file: str | Path | None) -> dict[str, Any]:
    """Return the options of an httpx client for a server; where no key or file is given, the environment is looked at.

    Raises:
        Refused: Address, key or file of certificates are none.
    """
    key = os.environ.get(KEY_VARIABLE) if key is None else key
    if key and not (key.isascii() and key.isprintable()):
        told = "key: it has other characters than a key."
        raise failure(Refused, "invalid_key", told, accepted=f"{KEY_VARIABLE}=ldk_…")
    try:
        base_url = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise failure(Refused, "invalid_url", f"url: {error}.", url, "http://127.0.0.1:8000") from error
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    options = {"base_url": base_url, "headers": headers, "timeout": TIMEOUT, "trust_env": False}
    ca_file = ca_file or os.environ.get(CA_VARIABLE)
    return options | ({"verify": trusting(ca_file)} if ca_file else {})


def trusting(ca_file: str | Path) -> ssl.SSLContext:
    """Return what takes the certificates that were signed by those of a PEM file, and no others.

    Raises:
        Refused: It is no such file.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # an SSLError is one
        told = f"ca_file: {error.strerror or error}."
        raise failure(Refused, "invalid_ca_file", told, ca_file, "a file of certificates, PEM") from error


def below(base_url: httpx.URL, address: str) -> str:
    """Return what httpx has to be asked for: it puts the path of the server's address before a path by itself.

    Args:
        base_url: Address of the server, which may have a path.
        address: A path of the server's own, or one that an answer names, which begins with the path of its address.
    """
    root = base_url.path.rstrip("/")
    return address.removeprefix(root) if address.startswith(f"{root}/") else address


class Driver:
    """Does steps and blocks meanwhile.

    Args:
        url: Address of the server.
        key: The key, if the server asks for one.
        ca_file: Certificates to trust, if the server's was signed by none that everybody trusts.
    """

    def __init__(self, url: str, key: str | None, ca_file: str | Path | None) -> None:
        self.http = httpx.Client(**connection_of(url, key, ca_file))
        self._ever_reached = False

    def run(self, steps: Steps[T]) -> T:
        """Do what the steps say, and return what they come to.

        Raises:
            RemoteError: As the steps say.
        """
        reply: Any = None
        failed: RemoteError | None = None
        with closing(steps), _Opened() as opened:
            while True:
                try:
                    step = steps.throw(failed) if failed else steps.send(reply)
                except StopIteration as end:
                    result: T = end.value
                    return result
                reply, failed = None, None
                try:
                    reply = self._do(step, opened)
                except httpx.TransportError as error:
                    failed = unreachable(self.http.base_url, error, ever_reached=self._ever_reached)

    def _do(self, step: Step, opened: "_Opened") -> Any:
        match step:
            case Ask():
                address = below(self.http.base_url, step.address)
                body = None if step.body is None else _pieces(step.body)
                return self._answer(self.http.request(step.method, address, content=body, **_options(step)))
            case Open():
                address = below(self.http.base_url, step.address)
                opened.close()
                answer = opened.enter_context(self.http.stream("GET", address, **_options(step)))
                opened.pieces = answer.iter_bytes(step.piece_bytes)
                if answer.is_error:
                    answer.read()
                return self._answer(answer)
            case Read():
                return next(opened.pieces, b"")
            case Pause():
                return time.sleep(step.seconds)
            case Work():
                return step.call()

    def _answer(self, answer: httpx.Response) -> Answer:
        self._ever_reached = True
        return _told(answer)


class AsyncDriver:
    """Does steps and lets others go on meanwhile; the same as `Driver` otherwise."""

    def __init__(self, url: str, key: str | None, ca_file: str | Path | None) -> None:
        self.http = httpx.AsyncClient(**connection_of(url, key, ca_file))
        self._ever_reached = False

    async def run(self, steps: Steps[T]) -> T:
        """Do what the steps say, and return what they come to.

        Raises:
            RemoteError: As the steps say.
        """
        reply: Any = None
        failed: RemoteError | None = None
        with closing(steps):
            async with _AsyncOpened() as opened:
                while True:
                    try:
                        step = steps.throw(failed) if failed else steps.send(reply)
                    except StopIteration as end:
                        result: T = end.value
                        return result
                    reply, failed = None, None
                    try:
                        reply = await self._do(step, opened)
                    except httpx.TransportError as error:
                        failed = unreachable(self.http.base_url, error, ever_reached=self._ever_reached)

    async def _do(self, step: Step, opened: "_AsyncOpened") -> Any:
        match step:
            case Ask():
                address = below(self.http.base_url, step.address)
                body = None if step.body is None else _awaited_pieces(step.body)
                return self._answer(await self.http.request(step.method, address, content=body, **_options(step)))
            case Open():
                address = below(self.http.base_url, step.address)
                await opened.aclose()
                answer = await opened.enter_async_context(self.http.stream("GET", address, **_options(step)))
                opened.pieces = answer.aiter_bytes(step.piece_bytes)
                if answer.is_error:
                    await answer.aread()
                return self._answer(answer)
            case Read():
                return await anext(opened.pieces, b"")
            case Pause():
                return await anyio.sleep(step.seconds)
            case Work():
                return await to_thread.run_sync(step.call)

    def _answer(self, answer: httpx.Response) -> Answer:
        self._ever_reached = True
        return _told(answer)


class _Opened(ExitStack):
    """The answer that is being read, if there is one."""

    pieces: Any = iter(())


class _AsyncOpened(AsyncExitStack):
    """The answer that is being read, if there is one."""

    pieces: Any


def _pieces(body: Body) -> Iterator[bytes]:
    """Yield a part of a file, and tell of each piece that was taken."""
    done = 0
    for piece in body:
        yield piece
        done += len(piece)
        body.report(done)


async def _awaited_pieces(body: Body) -> AsyncIterator[bytes]:
    """Yield a part of a file; it is read in another thread, and told of in this one."""
    pieces, done = iter(body), 0
    while piece := await to_thread.run_sync(next, pieces, b""):
        yield piece
        done += len(piece)
        body.report(done)


def _options(step: Ask | Open) -> dict[str, Any]:
    options: dict[str, Any] = {"params": dict(step.params), "headers": dict(step.headers)}
    if isinstance(step, Open):
        timeout = TIMEOUT if step.silence_s is None else httpx.Timeout(60.0, read=step.silence_s)
        return options | {"timeout": timeout}
    return options | ({} if step.json is None else {"json": step.json})


def _told(answer: httpx.Response) -> Answer:
    """Return what steps may know of an answer; the body of one that is being read comes by `Read`."""
    return Answer(answer.status_code, answer.headers, answer.content if answer.is_closed else b"")
