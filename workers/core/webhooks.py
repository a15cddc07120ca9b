"""Calls to an address that a client names: only where the operator allows, signed, and to a checked address.

Rules against calls into one's own network: https only; the host is on the operator's list; every address that its name
resolves to is public; the connection goes to the address that was checked; no redirect is followed.
"""

import hashlib
import hmac
import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from workers.core.job_errors import WebhookRefused
from workers.core.schemas import Webhook
from workers.core.settings import Settings

TIMEOUT_S = 10.0
"""Longest wait for one answer of the network."""

TOTAL_S = 20.0
"""Longest time of one call, however slowly the other side drips."""

HTTPS_PORT = 443
ANY_HOST = "*"
SIGNATURE = "LDiffusion-Signature"
NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def check_webhook(webhook: Webhook, settings: Settings) -> None:
    """Say at once what can be known of a webhook without asking the network.

    Raises:
        WebhookRefused: Webhooks are off, or the address or the secret is not one that the operator allows.
    """
    target = parse_url(webhook.url, settings)
    try:
        address = ipaddress.ip_address(target.hostname or "")
    except ValueError:  # a name: it is resolved, and checked, when it is called
        pass
    else:
        require_allowed(address, settings)
    read_secret(webhook.secret, settings)


def parse_url(url: str, settings: Settings) -> SplitResult:
    """Return the parts of an address on an allowed host.

    Raises:
        WebhookRefused: It is not https, carries a password, or its host is not on the list.
    """
    allowed = [entry.strip().lower() for entry in settings.webhook_hosts.split(",") if entry.strip()]
    if not allowed:
        raise WebhookRefused("This server calls no webhooks.", accepted="a request without webhook")
    try:
        target = urlsplit(url)
        host, port = (target.hostname or "").lower(), target.port or HTTPS_PORT
    except ValueError as error:
        raise WebhookRefused("webhook.url: that is no address.", value=url[:200]) from error
    if target.scheme != "https" or not host or "@" in target.netloc or not url.isascii() or not url.isprintable():
        raise WebhookRefused(
            "webhook.url: it has to be https, without a password.", value=url[:200], accepted="https://…"
        )
    if not {host, f"{host}:{port}", ANY_HOST} & set(allowed) or (
        port != HTTPS_PORT and f"{host}:{port}" not in allowed
    ):
        raise WebhookRefused(
            "webhook.url: this server does not call that host and port.",
            value=f"{host}:{port}",
            accepted="a host that the operator allows",
        )
    return target


def read_secret(name: str, settings: Settings) -> bytes:
    """Return the secret of this name.

    Raises:
        WebhookRefused: The operator has put down none.
    """
    path: Path = settings.webhook_secrets_dir / name
    secret = path.read_bytes().strip() if path.is_file() else b""
    if not secret:
        raise WebhookRefused(
            "webhook.secret: there is none of this name.", value=name, accepted="one the operator made"
        )
    return secret


def signature(secret: bytes, moment: int, body: bytes) -> str:
    """Return the header that proves body and time: `t=<seconds>,v1=<HMAC-SHA256 of "<seconds>.<body>">`."""
    return f"t={moment},v1={hmac.new(secret, f'{moment}.'.encode() + body, hashlib.sha256).hexdigest()}"


def is_public(address: Address) -> bool:
    """Whether an address can only be outside: addresses that wrap another one count as inside."""
    if isinstance(address, ipaddress.IPv6Address):
        wraps = address.ipv4_mapped or address.sixtofour or address.teredo or any(address in net for net in NAT64)
        if wraps or address.is_site_local:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def require_allowed(address: Address, settings: Settings) -> None:
    """Refuse an address that is not public, unless the operator allows such.

    Raises:
        WebhookRefused: It is.
    """
    if not settings.webhook_private and not is_public(address):
        raise WebhookRefused("webhook.url: its address is not public.", value=address, accepted="a public address")


def resolve(host: str, port: int, settings: Settings) -> Sequence[str]:
    """Return the addresses of a host, all of them checked.

    Raises:
        WebhookRefused: One of them is not public.
        OSError: The name is not known.
    """
    found = list(dict.fromkeys(str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
    for text in found:
        require_allowed(ipaddress.ip_address(text), settings)
    return found


def post(url: str, body: bytes, headers: dict[str, str], settings: Settings) -> int:
    """Send a body and return the status of the answer, of which nothing else is read.

    Raises:
        WebhookRefused: The address is not allowed.
        OSError, http.client.HTTPException: Nobody answers, not in time, or not in HTTP.
    """
    target = parse_url(url, settings)
    host, port = target.hostname or "", target.port or HTTPS_PORT
    connection = _CheckedConnection(host, port, resolve(host, port, settings))
    timer = threading.Timer(TOTAL_S, connection.abort)
    timer.start()
    try:
        path = (target.path or "/") + (f"?{target.query}" if target.query else "")
        connection.request("POST", path, body, headers)
        return connection.getresponse().status
    finally:
        timer.cancel()
        connection.close()


class _CheckedConnection(http.client.HTTPSConnection):
    """Goes to an address that was checked, and asks for the certificate of the host."""

    def __init__(self, host: str, port: int, addresses: Sequence[str]) -> None:
        self._tls = ssl.create_default_context()
        super().__init__(host, port, timeout=TIMEOUT_S, context=self._tls)
        self._addresses = addresses

    def connect(self) -> None:
        """Connect to the first address that answers."""
        last: OSError | None = None
        for address in self._addresses:
            try:
                plain = socket.create_connection((address, self.port), TIMEOUT_S)
            except OSError as error:
                last = error
                continue
            self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)
            return
        raise last or OSError("the host has no address")

    def abort(self) -> None:
        """End the call from another thread."""
        if self.sock is not None:
            self.sock.close()
