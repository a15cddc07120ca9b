"""SSRF guard: calls to an address that a client names, made so that they cannot lead into one's own network.

All egress of the gateway to addresses of others goes through here.

https only; the host is on the list; every address that its name resolves to is public; the connection goes to
the address that was checked; no redirect is followed; from the name to the head of the answer there is one deadline.
"""

import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from urllib.parse import SplitResult, urlsplit

from workers.core.errors.base import Invalid

HTTPS_PORT = 443
ANY_HOST = "*"
NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Egress:
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
            host.encode("idna")  # what the system's resolver is asked for
        except ValueError as error:  # a UnicodeError is one: an empty label, or one of more than 63 characters
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

    def resolve(self, host: str, port: int, within_s: float) -> Sequence[str]:
        """Return the addresses of a host, all of them checked.

        Raises:
            Invalid: `refusal`: one of them is not public.
            OSError: The name is not known, or not within this time.
        """
        found = _look_up(host, port, within_s)
        for text in found:
            self.require_allowed(ipaddress.ip_address(text))
        return found

    @contextmanager
    def call(self, target: SplitResult, timeout_s: float, total_s: float) -> Iterator["CheckedConnection"]:
        """Give a connection to a host; it is made with the first request, and aborted unless the context ends in time.

        Args:
            target: As `parse_url` gives it.
            timeout_s: Longest wait for one answer of the network.
            total_s: Longest time from here to the end of the context.

        Raises:
            Invalid: `refusal`: an address of the host is not public; with the first request.
            OSError: The name is not known, nobody answers, or not in time; with the first request.
        """
        connection = CheckedConnection(self, target.hostname or "", target.port or HTTPS_PORT, timeout_s, total_s)
        timer = threading.Timer(total_s, connection.abort)
        timer.start()
        try:
            yield connection
        finally:
            timer.cancel()


def _look_up(host: str, port: int, within_s: float) -> list[str]:
    """Ask for the addresses of a host, in a thread of its own: the system's resolver takes the time it takes."""
    answer: Future[list[str]] = Future()

    def ask() -> None:
        try:
            entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answer.set_result(list(dict.fromkeys(str(entry[4][0]) for entry in entries)))
        except OSError as error:
            answer.set_exception(error)

    threading.Thread(target=ask, name=f"look-up of {host}", daemon=True).start()
    return answer.result(within_s)


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
    """Goes to an address that was checked, and asks for the certificate of the host.

    Args:
        egress: Checks the addresses.
        host: Name or address.
        port: Of the host.
        timeout_s: Longest wait for one answer of the network.
        total_s: Longest time from here until it is connected.
    """

    def __init__(self, egress: Egress, host: str, port: int, timeout_s: float, total_s: float) -> None:
        self._tls = ssl.create_default_context()
        super().__init__(host, port, timeout=timeout_s, context=self._tls)
        self._egress = egress
        self._timeout_s = timeout_s
        self._deadline = monotonic() + total_s
        self._line: ssl.SSLSocket | None = None

    def connect(self) -> None:
        """Connect to the first address that answers.

        Raises:
            Invalid: An address of the host is not public.
            OSError: The name is not known, nobody answers, or not in time.
        """
        last: OSError | None = None
        for address in self._egress.resolve(self.host, self.port, self._left_s()):
            try:
                plain = socket.create_connection((address, self.port), self._left_s())
            except OSError as error:
                last = error
                continue
            self.sock = self._secured(plain)
            return
        raise last or OSError("the host has no address")

    def _secured(self, plain: socket.socket) -> ssl.SSLSocket:
        line = self._line = self._tls.wrap_socket(plain, server_hostname=self.host, do_handshake_on_connect=False)
        try:
            line.settimeout(self._left_s())
            line.do_handshake()
        except OSError:
            line.close()
            raise
        line.settimeout(self._timeout_s)
        return line

    def _left_s(self) -> float:
        left = self._deadline - monotonic()
        if left <= 0:
            raise TimeoutError
        return min(self._timeout_s, left)

    def abort(self) -> None:
        """End the call from another thread, which may be waiting for bytes; that one then closes the connection."""
        if self._line is not None:
            with suppress(OSError):  # the other side was quicker
                # Not the method of `SSLSocket`: that one would take the cipher away from under the reading thread.
                socket.socket.shutdown(self._line, socket.SHUT_RDWR)
