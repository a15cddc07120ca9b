"""What a trusted proxy says of a request: who sent it, by which scheme and host, below which path prefix. Pure ASGI.

Anybody can send `X-Forwarded-*`. It counts if the connection comes from an address that the settings name, and
its `Host` is one of ours: a page that makes a name of its own mean this machine must not talk its way past the check of
that name.
"""

import ipaddress
import re
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from server.access.exposure import proxies_of
from server.access.headers import Hosts
from server.access.limits import block_of
from server.access.notes import remote_of
from server.web.root_path import parse_root_path
from workers.core.settings import Settings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
SCHEMES = ("http", "https")
_HOP = re.compile(r"\[(?P<v6>[^\]]+)\](?::\d+)?|(?P<v4>[\d.]+):\d+|(?P<bare>.+)")


class Forwarded:
    """Lets every layer behind it see the request as its sender made it, where a trusted proxy says how.

    Args:
        app: What it stands before.
        settings: The proxies, and the names of this server.

    Raises:
        RequestInvalid: A listed proxy is no address and no network.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._proxies = proxies_of(settings)
        self._hosts = Hosts(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on."""
        if scope["type"] == "http" and self._believes(scope):
            scope = self._seen_through(scope)
        await self._app(scope, receive, send)

    def _believes(self, scope: Scope) -> bool:
        peer = _address_of(remote_of(scope))
        return peer is not None and self._trusts(peer) and self._hosts.take(Headers(scope=scope).getlist("host"))

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._proxies)

    def _seen_through(self, scope: Scope) -> Scope:
        headers = Headers(scope=scope)
        hops = [hop for line in headers.getlist("x-forwarded-for") for hop in line.split(",")]
        seen = {**scope, "client": (self._sender(remote_of(scope), hops), 0)}
        match headers.getlist("x-forwarded-proto"):
            case [scheme] if scheme.lower() in SCHEMES:
                seen["scheme"] = scheme.lower()
        match [parse_root_path(prefix) for prefix in headers.getlist("x-forwarded-prefix")]:
            case [str(root)]:
                seen["root_path"] = root
        if hosts := headers.getlist("x-forwarded-host"):  # whether they are ours is asked behind this
            others = [(name, value) for name, value in scope["headers"] if name != b"host"]
            seen["headers"] = [*((b"host", host.encode("latin-1")) for host in hosts), *others]
        return seen

    def _sender(self, peer: str, hops: list[str]) -> str:
        """Return the nearest address that is no trusted proxy: what stands before it, anybody may have written."""
        sender = peer
        for hop in reversed(hops):
            address = _address_of(hop)
            if address is None:
                break
            sender = str(address)
            if not self._trusts(address):
                break
        return sender


def counted_as(settings: Settings) -> Callable[[str], str | None]:
    """Return what connections from an address are counted as; None for a trusted proxy, which speaks for many.

    What a proxy says of its clients is known once a request is here, and not when a connection is made. So who names a
    proxy leaves the limit for each client to it.

    Raises:
        RequestInvalid: A listed proxy is no address and no network.
    """
    proxies = proxies_of(settings)

    def count(address: str) -> str | None:
        parsed = _address_of(address)
        is_proxy = parsed is not None and any(parsed in network for network in proxies)
        return None if is_proxy else block_of(address)

    return count


def _address_of(text: str) -> Address | None:
    """Return the address of one entry of `X-Forwarded-For`, which may have a port; None if it is none."""
    found = _HOP.fullmatch(text.strip())
    try:
        address = ipaddress.ip_address(found["v6"] or found["v4"] or found["bare"]) if found else None
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
