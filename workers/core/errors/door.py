"""What goes wrong before a route sees a request: at the connection, in its head, its query, its body."""

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


class ParameterUnknown(Invalid):
    """The query of the request has a parameter that the address does not take."""

    code = "parameter_unknown"


class BodyTooComplex(Invalid):
    """The JSON of the request holds more values, or deeper ones, than any request needs."""

    code = "body_too_complex"


class ConnectionsExceeded(TooMany):
    """The address has as many connections open as one may have, and all of them are at work."""

    code = "connections_exceeded"


class ConnectionsExhausted(Unavailable):
    """The server has as many connections open as it takes, and all of them are at work."""

    code = "connections_exhausted"
