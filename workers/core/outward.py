"""Calls to an address that a client names, made so that they cannot lead into one's own network.

https only; the host is on the list; every address that its name resolves to is public; the connection goes to
the address that was checked; no redirect is followed.
"""

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from workers.core.errors import Invalid

HTTPS_PORT = 443
ANY_HOST = "*"
NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Outward:
    """What one kind of call may reach.

    Attributes:
        field: How messages name the address, such as `webhook.url`.
        hosts: The operator's list, with commas between; `*`: any; empty: none.
        private: Addresses that are not public are allowed.
        refusal: What is raised.
        off: What is said where the list is empty.
        instead: What is accepted then.
    """

    field: str
    hosts: str
    private: bool
    refusal: type[Invalid]
    off: str
    instead: str

    def parse_url(self, url: str) -> SplitResult:
        """Return the parts of an address on an allowed host.

        Raises:
            Invalid: `refusal`: it is not https, carries a password, or its host is not on the list.
        """
        allowed = {entry.strip().lower() for entry in self.hosts.split(",") if entry.strip()}
        if not allowed:
            raise self.refusal(self.off, accepted=self.instead)
        try:
            target = urlsplit(url)
            host, port = (target.hostname or "").lower(), target.port or HTTPS_PORT
        except ValueError as error:
            raise self.refusal(f"{self.field}: that is no address.", value=url[:200]) from error
        if target.scheme != "https" or not host or "@" in target.netloc or not url.isascii() or not url.isprintable():
            raise self.refusal(
                f"{self.field}: it has to be https, without a password.", value=url[:200], accepted="https://…"
            )
        is_listed = bool({host, f"{host}:{port}", ANY_HOST} & allowed)
        if not is_listed or (port != HTTPS_PORT and f"{host}:{port}" not in allowed):
            raise self.refusal(
                f"{self.field}: this server does not call that host and port.",
                value=f"{host}:{port}",
                accepted="a host that the operator allows",
            )
        return target

    def check_literal(self, target: SplitResult) -> None:
        """Refuse a host that is an address, and not an allowed one; a name is checked when it is resolved.

        Raises:
            Invalid: `refusal`.
        """
        try:
            address = ipaddress.ip_address(target.hostname or "")
        except ValueError:
            return
        self.require_allowed(address)

    def require_allowed(self, address: Address) -> None:
        """Refuse an address that is not public, unless the operator allows such.

        Raises:
            Invalid: `refusal`.
        """
        if not self.private and not is_public(address):
            raise self.refusal(f"{self.field}: its address is not public.", value=address, accepted="a public address")

    def resolve(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of a host, all of them checked.

        Raises:
            Invalid: `refusal`: one of them is not public.
            OSError: The name is not known.
        """
        entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        found = list(dict.fromkeys(str(entry[4][0]) for entry in entries))
        for text in found:
            self.require_allowed(ipaddress.ip_address(text))
        return found

    def connect(self, target: SplitResult, timeout_s: float) -> "CheckedConnection":
        """Return a connection to a checked address of a host; it is made with the first request.

        Args:
            target: As `parse_url` gives it.
            timeout_s: Longest wait for one answer of the network.

        Raises:
            Invalid: `refusal`: an address of the host is not public.
            OSError: The name is not known.
        """
        host, port = target.hostname or "", target.port or HTTPS_PORT
        return CheckedConnection(host, port, self.resolve(host, port), timeout_s)


def is_public(address: Address) -> bool:
    """Whether an address can only be outside: addresses that wrap another one count as inside."""
    if isinstance(address, ipaddress.IPv6Address):
        wraps = address.ipv4_mapped or address.sixtofour or address.teredo or any(address in net for net in NAT64)
        if wraps or address.is_site_local:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def request_target(target: SplitResult) -> str:
    """Return path and query of an address, as the first line of a request has them."""
    return (target.path or "/") + (f"?{target.query}" if target.query else "")


class CheckedConnection(http.client.HTTPSConnection):
    """Goes to an address that was checked, and asks for the certificate of the host."""

    def __init__(self, host: str, port: int, addresses: Sequence[str], timeout_s: float) -> None:
        self._tls = ssl.create_default_context()
        super().__init__(host, port, timeout=timeout_s, context=self._tls)
        self._timeout_s = timeout_s
        self._addresses = addresses
        self._line: ssl.SSLSocket | None = None

    def connect(self) -> None:
        """Connect to the first address that answers."""
        last: OSError | None = None
        for address in self._addresses:
            try:
                plain = socket.create_connection((address, self.port), self._timeout_s)
            except OSError as error:
                last = error
                continue
            self.sock = self._line = self._tls.wrap_socket(plain, server_hostname=self.host)
            return
        raise last or OSError("the host has no address")

    def abort(self) -> None:
        """End the call from another thread, which may be waiting for bytes; an answer that is being read ends too."""
        if self._line is not None:
            with suppress(OSError):  # the other side was quicker
                self._line.shutdown(socket.SHUT_RDWR)
            self._line.close()
