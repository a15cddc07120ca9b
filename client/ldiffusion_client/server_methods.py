"""What both clients ask of the server as a whole: what it can do, how it is, what a tenant has."""

from ldiffusion_client.methods import Method
from ldiffusion_client.protocol import Steps, listed, look
from ldiffusion_client.records import Finding
from ldiffusion_client.system_views import SystemView, Usage
from ldiffusion_client.views import ModelCard, Page


class ServerMethods:
    """A part of `Methods`.

    Args:
        patience_s: How long a server that was there and does not answer is asked again.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s

    @Method
    def models(self) -> Steps[list[ModelCard]]:
        """Return the cards of the installed models."""
        return list((yield from look("/v1/models", Page[ModelCard], self._patience_s)).items)

    @Method
    def usage(self) -> Steps[Usage]:
        """Return how much the tenant of the key has stored and under way, and how much it may have."""
        return look("/v1/usage", Usage, self._patience_s)

    @Method
    def system(self) -> Steps[SystemView]:
        """Return how busy the server is; for keys with `admin` also who works and how full its disk is."""
        return look("/v1/system", SystemView, self._patience_s)

    @Method
    def doctor(self, *, digests: bool = False) -> Steps[list[Finding]]:
        """Return what of the store is not as it should be, for keys with `admin`; with `digests`, read all results."""
        return listed("/v1/admin/doctor", Page[Finding], None, digests=str(digests).lower())
