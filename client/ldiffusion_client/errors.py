"""What a client raises: the server's own code, sentence, value and what it accepts, as exceptions to catch.

RemoteError
├── Unreachable      no answer came
│   └── NeverReached     nor did one ever before: the address is wrong, or there is no server
├── NotAllowed       401, 403: no key, or one that may not
├── Missing          404, 410: there is no such thing, or no more
├── Busy             409, 423, 429, 503: the moment is wrong, the same request may work later
├── Refused          any other 4xx: the request can never succeed as it is; also a slide that was refused
├── ServerFailed     any other 5xx
├── JobEnded         the job failed or was canceled; `job` is all that is known of it
├── Damaged          other bytes arrived than were sent
└── TookTooLong      what was waited for did not come in the time that was given
"""

from collections.abc import Mapping
from http import HTTPStatus

from pydantic import ValidationError

from ldiffusion_client.views import ErrorBody, JobView, View


class RemoteError(Exception):
    """What the server answered, or why it could not be asked, told with the server's own code.

    Args:
        body: Code, sentence, offending value if there is one, what would have been accepted instead.
        status: Of the answer; None if there was none.
        retry_after_s: Seconds after which the server wants to be asked again, where it says so.
        request_id: What the server calls the request in its log, where it says so.
    """

    def __init__(
        self,
        body: ErrorBody,
        status: int | None = None,
        retry_after_s: float | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(body.message if request_id is None else f"{body.message} (request {request_id})")
        self.code, self.message, self.value, self.accepted = body.code, body.message, body.value, body.accepted
        self.status = status
        self.retry_after_s = retry_after_s
        self.request_id = request_id


class Unreachable(RemoteError):
    """No answer came."""


class NeverReached(Unreachable):
    """No answer came, nor did one ever before."""


class NotAllowed(RemoteError):
    """There is no key, or it may not do this."""


class Missing(RemoteError):
    """There is no such thing, or no more."""


class Busy(RemoteError):
    """The request is fine and the moment is not."""


class Refused(RemoteError):
    """The request can never succeed as it is."""


class ServerFailed(RemoteError):
    """A fault of the server's."""


class JobEnded(RemoteError):
    """A job that was waited for failed or was canceled.

    Args:
        job: How it ended.
    """

    def __init__(self, job: JobView) -> None:
        told = ErrorBody(code=f"job_{job.state}", message=f"The job {job.state}.", value=job.id)
        super().__init__(job.error or told)
        self.job = job


class Damaged(RemoteError):
    """Other bytes arrived than were sent."""


class TookTooLong(RemoteError):
    """What was waited for did not come in the time that was given."""


class _Answer(View):
    error: ErrorBody


HINT = "`ldiffusion serve`, or --server"
KINDS: dict[int, type[RemoteError]] = {
    **dict.fromkeys((401, 403), NotAllowed),
    **dict.fromkeys((404, 410), Missing),
    **dict.fromkeys((409, 423, 429, 503), Busy),
}


def failure(
    kind: type[RemoteError], code: str, message: str, value: object = None, accepted: str | None = None
) -> RemoteError:
    """Return an error that the client itself has found."""
    text = None if value is None else str(value)
    return kind(ErrorBody(code=code, message=message, value=text, accepted=accepted))


def unreachable(url: object, error: Exception, *, ever_reached: bool) -> RemoteError:
    """Return the error of a server that does not answer."""
    kind = Unreachable if ever_reached else NeverReached
    return failure(kind, "server_unreachable", f"No answer from {url}: {error}.", accepted=HINT)


def error_of(status: int, headers: Mapping[str, str], content: bytes) -> RemoteError:
    """Return the error that an answer of 400 and above tells."""
    kind = KINDS.get(status, ServerFailed if status >= HTTPStatus.INTERNAL_SERVER_ERROR else Refused)
    try:
        body = _Answer.model_validate_json(content).error
    except ValidationError:  # a proxy's, or another kind of server
        body = ErrorBody(code=f"http_{status}", message="The address answers, but not as this server does.")
    after = headers.get("retry-after", "")
    return kind(body, status, float(after) if after.isdecimal() else None, headers.get("x-request-id"))
