"""The files of one form as one zip, made while they come in: a slide of several files without a zip of one's own.

What is made goes the way of any uploaded zip, with the same guards: no name is believed here.
"""

import zipfile
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import PurePosixPath

from server.intake.archives import ENTRIES_MAX
from server.web.multipart import FIELD, Event, read_form_files
from workers.core.errors.base import RequestInvalid

ACCEPTED = f"parts named `{FIELD}`, each with the name of its file, such as slide.mrxs and slide/Data0000.dat"


async def read_form_zip(content_type: str, body: AsyncIterator[bytes]) -> tuple[str, AsyncIterator[bytes]]:
    """Return a name for the zip of a form's files, and the stream of its bytes: stored, in the order of the parts.

    The stream raises on names that a zip cannot hold, on too many files, and on a body that ends too early. The same
    files in the same order make the same bytes.

    Raises:
        RequestInvalid: Not a form, not well formed, or without a file part.
    """
    first, events = await read_form_files(content_type, body)
    return f"{PurePosixPath(first).stem}.zip", _zipped(first, events)


class _Held:
    """Where the zip is written to: bytes that nobody has taken yet, and no way back."""

    def __init__(self) -> None:
        self._content = bytearray()

    def write(self, content: bytes, /) -> int:
        """Take bytes over."""
        self._content += content
        return len(content)

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is held open."""

    def take(self) -> bytes:
        """Return what was written since the last time."""
        taken = bytes(self._content)
        self._content.clear()
        return taken


async def _zipped(first: str, events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
    held, names = _Held(), {first}
    with zipfile.ZipFile(held, "w", zipfile.ZIP_STORED) as archive, ExitStack() as under_way:
        entry = under_way.enter_context(archive.open(_entry(first), "w", force_zip64=True))
        async for event in events:
            if isinstance(event, bytes):
                entry.write(event)
                yield held.take()
                continue
            if event in names:
                raise RequestInvalid("Two files of the form have the same name.", value=event[:200], accepted=ACCEPTED)
            if len(names) >= ENTRIES_MAX:
                raise RequestInvalid("The form holds too many files.", accepted=f"at most {ENTRIES_MAX}")
            names.add(event)
            under_way.close()
            entry = under_way.enter_context(archive.open(_entry(event), "w", force_zip64=True))
    yield held.take()


def _entry(name: str) -> zipfile.ZipInfo:
    if not name or name.endswith("/") or "\0" in name:
        raise RequestInvalid("A file of the form has no name.", value=name[:200], accepted=ACCEPTED)
    return zipfile.ZipInfo(name)
