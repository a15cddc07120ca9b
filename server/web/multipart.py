"""A `multipart/form-data` body read as a stream: the files in it go by in pieces and are never held whole."""

from collections.abc import AsyncIterator

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from workers.core.errors.base import RequestInvalid, UploadIncomplete

FIELD = "file"
FORM_OVERHEAD_BYTES = 64 * 1024
"""Most bytes of a form that are not a file: boundaries, headers, small fields …"""

PART_OVERHEAD_BYTES = 1024
"""… and as many more for each file."""

ACCEPTED = f"multipart/form-data with one part named `{FIELD}` that has a filename"

Event = str | bytes
"""The filename of a file that begins, or bytes of the file that is under way."""


async def read_form_file(content_type: str, body: AsyncIterator[bytes]) -> tuple[str, AsyncIterator[bytes]]:
    """Read up to the first byte of the file part and return its filename and the stream of its bytes.

    The stream raises on a second file and on a body that ends before its closing boundary.

    Raises:
        RequestInvalid: Not a form, not well formed, or without a file part.
    """
    filename, events = await read_form_files(content_type, body)
    return filename, _only(events)


async def read_form_files(content_type: str, body: AsyncIterator[bytes]) -> tuple[str, AsyncIterator[Event]]:
    """Read up to the first byte of the first file part and return its filename and the stream of what follows.

    The stream raises on a body that ends before its closing boundary.

    Raises:
        RequestInvalid: Not a form, not well formed, or without a file part.
    """
    events = _events(content_type, body)
    async for event in events:
        if isinstance(event, str):
            return event, events
    raise RequestInvalid(f"The form has no file part named `{FIELD}`.", accepted=ACCEPTED)


async def _only(events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
    async for event in events:
        if isinstance(event, str):
            raise RequestInvalid("The form holds more than one file.", accepted=ACCEPTED)
        yield event


async def _events(content_type: str, body: AsyncIterator[bytes]) -> AsyncIterator[Event]:
    media_type, options = parse_options_header(content_type)
    if media_type != b"multipart/form-data" or not options.get(b"boundary"):
        raise RequestInvalid("The body is no form with a file.", value=content_type or None, accepted=ACCEPTED)
    form = _Form(options[b"boundary"])
    async for piece in body:
        for event in form.feed(piece):
            yield event
    if form.files and not form.complete:
        raise UploadIncomplete("The form ended before its closing boundary.")


class _Form:
    """State of the parser: which part we are in, and what was found in the piece that is being parsed."""

    def __init__(self, boundary: bytes) -> None:
        self.files = 0
        self.complete = False
        self._in_file = False
        self._header_name = b""
        self._header_value = b""
        self._disposition = b""
        self._events: list[Event] = []
        self._other_bytes = 0
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._on_part_begin,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_end": self._on_end,
                },
            )
        except FormParserError as error:
            raise RequestInvalid("The form's boundary is too long.", accepted=ACCEPTED) from error

    def feed(self, piece: bytes) -> list[Event]:
        """Parse one piece of the body."""
        self._events = []
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise RequestInvalid("The form is not well formed.", value=error, accepted=ACCEPTED) from error
        self._other_bytes += len(piece) - sum(len(event) for event in self._events if isinstance(event, bytes))
        if self._other_bytes > FORM_OVERHEAD_BYTES + self.files * PART_OVERHEAD_BYTES:
            raise RequestInvalid("The form holds too much beside the file.", accepted=ACCEPTED)
        return self._events

    def _on_part_begin(self) -> None:
        self._in_file = False
        self._disposition = self._header_name = self._header_value = b""

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name = self._header_value = b""

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if options.get(b"name") != FIELD.encode() or b"filename" not in options:
            return
        self._in_file = True
        self.files += 1
        self._events.append(options[b"filename"].decode("utf-8", errors="replace"))

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._events.append(bytes(data[start:end]))

    def _on_end(self) -> None:
        self.complete = True
