"""What goes wrong before a request is one: at the connection, and while its head and body come in."""

from workers.core.errors.access import TooMany
from workers.core.errors.base import Invalid, Unavailable


class RequestMalformed(Invalid):
    """The bytes of the connection are no HTTP request."""

    code = "request_malformed"


class HeadTooLong(Invalid):
    """The head of the request has more bytes or lines than the server takes; trailers count as it does."""

    code = "head_too_long"


class RequestLate(Invalid):
    """The head of the request was not whole in time, or no byte of its body came for too long."""

    code = "request_late"


class ConnectionsExceeded(TooMany):
    """The address has as many connections open as one may have, and all of them are at work."""

    code = "connections_exceeded"


class ConnectionsExhausted(Unavailable):
    """The server has as many connections open as it takes, and all of them are at work."""

    code = "connections_exhausted"
