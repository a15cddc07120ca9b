"""Who asks: a tenant and what it may do."""

from dataclasses import dataclass
from typing import Literal, get_args

from workers.core.errors.access import ScopeMissing
from workers.core.frozen import LOCAL_TENANT

Scope = Literal["read", "submit", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
"""`read`: look and fetch. `submit`: upload, ask for jobs, cancel, delete. `admin`: what concerns the whole server."""

Means = Literal["key", "link", "open"]
"""How somebody came in: with a key, by a signed link, or because the server asks nobody."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks.

    Attributes:
        tenant: Whose things these are; what belongs to another tenant does not exist for this one.
        scopes: What they may do. None implies another.
        means: How they came in.
        key_id: Which key, if it was one. Never the secret.
    """

    tenant: str
    scopes: frozenset[Scope]
    means: Means
    key_id: str | None = None

    def require(self, scope: Scope) -> None:
        """Refuse who does not have a scope.

        Raises:
            ScopeMissing: It names the scope.
        """
        if scope not in self.scopes:
            raise ScopeMissing(scope, ", ".join(sorted(self.scopes)))


LOCAL = Principal(LOCAL_TENANT, frozenset(SCOPES), "open")
"""Whoever sits at this machine, as long as there is no key and nobody else can reach the server."""

_READ: frozenset[Scope] = frozenset({"read"})


def link_principal(tenant: str) -> Principal:
    """Return who comes by a signed link: somebody whom the tenant lets look, and nothing else."""
    return Principal(tenant, _READ, "link")
