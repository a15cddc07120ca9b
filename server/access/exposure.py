"""Whether others can reach this server, and whether it may then be open."""

import ipaddress
from collections.abc import Iterable
from datetime import datetime

from server.access.keys import KeySet
from workers.core.errors.base import RequestInvalid
from workers.core.settings import Settings

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")  # RFC 6761: nobody else can have these


def listed(setting: str) -> list[str]:
    """Return the entries of a setting that has commas between, in lower case."""
    return [entry.strip().lower() for entry in setting.split(",") if entry.strip()]


def exposed_by(settings: Settings) -> str | None:
    """Return the address or name by which others reach this server; None if only this machine does.

    A name besides those of this machine is there for a server in front, as a trusted proxy is one: what comes through
    that one comes from anywhere, although it comes from the loopback address.
    """
    names = (settings.host, *listed(settings.allowed_hosts))
    others = [name for name in names if not is_loopback(name)]
    return next(iter([*others, *listed(settings.trusted_proxies)]), None)


def check_exposure(settings: Settings, keys: KeySet, now: datetime) -> None:
    """Refuse to serve other machines without a key that opens anything.

    Raises:
        RequestInvalid: Whoever reaches the port, or a server in front of it, could read, upload and delete.
    """
    others = exposed_by(settings)
    if others is None or keys.has_usable(now):
        return
    raise RequestInvalid(
        "host, allowed_hosts, trusted_proxies: without a usable key this server serves this machine only.",
        value=others,
        accepted="127.0.0.1, no other names and no proxy, or a key: `ldiffusion keys create NAME`",
    )


def is_open(settings: Settings, keys: KeySet) -> bool:
    """Whether requests need no key: there never was one, and only this machine reaches the server."""
    return not keys and exposed_by(settings) is None


def proxies_of(settings: Settings) -> list[Network]:
    """Return the networks of the trusted proxies.

    Raises:
        RequestInvalid: One of them is none. There is no word for all of them.
    """
    return list(_networks(listed(settings.trusted_proxies)))


def _networks(entries: Iterable[str]) -> Iterable[Network]:
    for entry in entries:
        try:
            yield ipaddress.ip_network(entry)
        except ValueError as error:
            raise RequestInvalid(
                "trusted_proxies: no address and no network.", value=entry, accepted="127.0.0.1, 10.1.0.0/16, …"
            ) from error
