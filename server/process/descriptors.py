"""How many files and connections a process may have open."""

import resource

RESERVED = 256
"""Descriptors that are no connections of clients: slides, parts of uploads, the queue, pipes to children."""


def raise_descriptor_limit() -> None:
    """Raise the limit of descriptors to what the system allows this process.

    The usual limit, 1024, is for programs that ask `select` about their descriptors. Children inherit it.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def room_for_connections(wanted: int) -> int:
    """Return how many of the wanted connections there are descriptors for, at least one."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft - RESERVED))
