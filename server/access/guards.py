"""What a route may ask for about who asks, as annotated types. The gate has let them in already."""

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer

from server.access.gate import Access
from server.access.notes import Note, note_of
from server.access.principals import Principal, Scope
from workers.core.errors.access import ScopeMissing
from workers.core.errors.base import NotFound

OTHER_TENANT = "other_tenant"
"""How the audit log calls it when somebody asks for what is another tenant's. The answer does not."""

# These read nothing: the gate has done that. They say it in the OpenAPI document.
_BEARER = HTTPBearer(auto_error=False, scheme_name="key", description="A key made by `ldiffusion keys create`.")
_HEADER = APIKeyHeader(name="X-API-Key", auto_error=False, scheme_name="key_header")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls a route.

    Attributes:
        principal: Tenant and scopes.
    """

    principal: Principal
    _note: Note

    @property
    def tenant(self) -> str:
        """Whose things these are: what is made belongs to this tenant."""
        return self.principal.tenant

    def sees(self, owner: str) -> bool:
        """Whether what belongs to `owner` exists for this caller; lists are filtered by it, before they are cut."""
        return owner == self.principal.tenant

    def require(self, scope: Scope) -> None:
        """Refuse who does not have a scope, where the gate could not tell that it is needed.

        Raises:
            ScopeMissing: It names the scope.
        """
        try:
            self.principal.require(scope)
        except ScopeMissing as error:
            self._note.refused = error.code
            raise

    def check_owner(self, owner: str, missing: NotFound) -> None:
        """Refuse what is another tenant's, by the very error of what is not there.

        Args:
            owner: The tenant that it belongs to.
            missing: What is raised where nothing has this id.

        Raises:
            NotFound: `missing`.
        """
        if not self.sees(owner):
            self._note.refused = OTHER_TENANT
            raise missing


async def get_caller(
    request: Request, _bearer: Annotated[object, Security(_BEARER)], _header: Annotated[object, Security(_HEADER)]
) -> Caller:
    """Who asks. Without a gate before the application there is nobody, and the request fails."""
    return Caller(cast("Principal", request.state.principal), note_of(request.scope))


async def get_access(request: Request) -> Access:
    """Keys, links, rates and the audit log."""
    return cast("Access", request.state.access)


async def need_admin(request: Request) -> None:
    """Let only those in whose key is for the whole server.

    Raises:
        ScopeMissing.
    """
    cast("Principal", request.state.principal).require("admin")


async def mark_download(request: Request) -> None:
    """Have the audit log tell that this was fetched, if it is."""
    note_of(request.scope).is_download = True


CallerDep = Annotated[Caller, Depends(get_caller)]
AccessDep = Annotated[Access, Depends(get_access)]
ADMIN_ONLY = Depends(need_admin)
DOWNLOAD = Depends(mark_download)
