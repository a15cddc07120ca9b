"""A `multipart/form-data` body read as a stream: the one file in it goes by in pieces and is never held whole."""

from collections.abc import AsyncIterator

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from workers.core.errors import RequestInvalid, UploadIncomplete

FIELD = "file"
FORM_OVERHEAD_BYTES = 64 * 1024
"""Most bytes of a form that are not the file: boundaries, headers, small fields."""

ACCEPTED = f"multipart/form-data with one part named `{FIELD}` that has a filename"


async def read_form_file(content_type: str, body: AsyncIterator[bytes]) -> tuple[str, AsyncIterator[bytes]]:
    """Read up to the first byte of the file part and return its filename and the stream of its bytes.

    The stream raises on a second file and on a body that ends before its closing boundary.

    Raises:
        RequestInvalid: Not a form, not well formed, or without a file part.
    """
    media_type, options = parse_options_header(content_type)
    if media_type != b"multipart/form-data" or not options.get(b"boundary"):
        raise RequestInvalid("The body is no form with a file.", value=content_type or None, accepted=ACCEPTED)
    form = _Form(options[b"boundary"])
    async for piece in body:
        form.feed(piece)
        if form.filename is not None:
            return form.filename, _file_bytes(form, body)
    raise RequestInvalid(f"The form has no file part named `{FIELD}`.", accepted=ACCEPTED)


async def _file_bytes(form: "_Form", body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield form.take()
    async for piece in body:
        form.feed(piece)
        yield form.take()
    if not form.complete:
        raise UploadIncomplete("The form ended before its closing boundary.")


class _Form:
    """State of the parser: which part we are in, and the file's bytes since the last `take`."""

    def __init__(self, boundary: bytes) -> None:
        self.filename: str | None = None
        self.complete = False
        self._in_file = False
        self._header_name = b""
        self._header_value = b""
        self._disposition = b""
        self._file = bytearray()
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

    def feed(self, piece: bytes) -> None:
        """Parse one piece of the body."""
        before = len(self._file)
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise RequestInvalid("The form is not well formed.", value=error, accepted=ACCEPTED) from error
        self._other_bytes += len(piece) - (len(self._file) - before)
        if self._other_bytes > FORM_OVERHEAD_BYTES:
            raise RequestInvalid("The form holds too much beside the file.", accepted=ACCEPTED)

    def take(self) -> bytes:
        """Return the file's bytes that have not been taken yet."""
        taken = bytes(self._file)
        self._file.clear()
        return taken

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
        if self.filename is not None:
            raise RequestInvalid("The form holds more than one file.", accepted=ACCEPTED)
        self._in_file = True
        self.filename = options[b"filename"].decode("utf-8", errors="replace")

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._file += data[start:end]

    def _on_end(self) -> None:
        self.complete = True
