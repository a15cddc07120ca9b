"""What goes wrong between who asks and what they may: branches of the tree in `workers.core.errors.base`."""

from workers.core.errors.base import LDiffusionError


class Unauthorized(LDiffusionError):
    """No key came with the request, or one that is unknown, revoked or expired."""

    code = "unauthorized"


class Forbidden(LDiffusionError):
    """The request is understood and will not be served, whoever repeats it."""

    code = "forbidden"


class ScopeMissing(Forbidden):
    """The key is good and does not reach this far.

    Args:
        scope: The scope that is missing.
        held: What the key has, for the message.
    """

    code = "scope_missing"

    def __init__(self, scope: str, held: str) -> None:
        super().__init__(f"This needs a key with the scope {scope}.", value=held, accepted=scope)
        self.scope = scope


class LinkInvalid(Forbidden):
    """A signed link is altered, incomplete or past its time."""

    code = "link_invalid"


class HostRefused(Forbidden):
    """The request names a host that is not this server."""

    code = "host_refused"


class OriginRefused(Forbidden):
    """A page of another site sends the request through somebody's browser."""

    code = "origin_refused"


class TooMany(LDiffusionError):
    """Fewer of these, or later.

    Args:
        message: One sentence for a person.
        value: What there is.
        accepted: What there may be.
        retry_after_s: Seconds after which the same request may work; None if no time is known.
    """

    code = "too_many"

    def __init__(
        self, message: str, *, value: object = None, accepted: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, value=value, accepted=accepted)
        self.retry_after_s = retry_after_s


class RateLimited(TooMany):
    """Requests come faster than they may.

    Args:
        rate_per_s: How many may come in a second.
        retry_after_s: Seconds until one more may.
        is_first: No other was refused since the last that was not: the one that is worth a line in a log.
    """

    code = "rate_limited"

    def __init__(self, rate_per_s: float, retry_after_s: float, *, is_first: bool) -> None:
        super().__init__(
            "Too many requests.", accepted=f"{rate_per_s:g} requests a second", retry_after_s=retry_after_s
        )
        self.is_first = is_first


class QuotaExceeded(TooMany):
    """The tenant has as much as it may have."""

    code = "quota_exceeded"


class UploadsExceeded(TooMany):
    """The tenant has announced as many uploads, or as many bytes of them, as one tenant may."""

    code = "uploads_exceeded"


class AuditBroken(LDiffusionError):
    """The audit log is not as it was written."""

    code = "audit_broken"
