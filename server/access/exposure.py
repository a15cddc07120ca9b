"""Whether others can reach this server, and whether it may then be open. No FastAPI here."""

import ipaddress
from datetime import datetime

from server.access.keys import KeySet
from workers.core.errors import RequestInvalid
from workers.core.settings import Settings


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")  # RFC 6761: nobody else can have these


def check_exposure(settings: Settings, keys: KeySet, now: datetime) -> None:
    """Refuse to listen to other machines without a key that opens anything.

    Raises:
        RequestInvalid: Whoever reaches the port could read, upload and delete.
    """
    if is_loopback(settings.host) or keys.has_usable(now):
        return
    raise RequestInvalid(
        "host: without a usable key this server listens to this machine only.",
        value=settings.host,
        accepted="127.0.0.1, or a key: `ldiffusion keys create NAME`",
    )


def is_open(settings: Settings, keys: KeySet) -> bool:
    """Whether requests need no key: there never was one, and only this machine reaches the server."""
    return not keys and is_loopback(settings.host)
