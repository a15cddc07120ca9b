"""After the last byte: the rules that make a complete file a slide, the same for every way in. No FastAPI here.

name → digest → probe → commit
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from anyio import CapacityLimiter, to_thread

from server.slide_names import DICOM_MAGIC, extension_of, sniff_extension
from workers.core.errors import RequestInvalid, UploadEmpty
from workers.core.probe import probe
from workers.core.schemas import LOCAL_TENANT, SlideInfo
from workers.core.settings import Settings
from workers.core.store import Store, fsync_dir

PROBES_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Received:
    """A complete file as it came in.

    Attributes:
        filename: Name for people, as `display_name` gives it.
        sha256: What its bytes have, in hex.
        announced: SHA-256 in hex that the client said it would have, if it did.
        tenant: Whose slide it will be.
    """

    filename: str
    size: int
    sha256: str
    announced: str | None = None
    tenant: str = LOCAL_TENANT


class Admission:
    """Makes slides of complete files."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._probes = CapacityLimiter(PROBES_AT_ONCE)

    async def admit(self, slide_id: str, file: Path, received: Received, folder: Path) -> SlideInfo:
        """Check a complete file and turn `folder`, which then holds nothing else, into the slide `slide_id`.

        Args:
            slide_id: Identifier that the slide gets.
            file: The bytes, durable, on the file system of `folder`. After a refusal they are still in `folder`.
            received: What is known of them.
            folder: Becomes the slide's.

        Raises:
            RequestInvalid, UploadEmpty, SlideUnreadable, SlideTooLarge: The file is refused.
            DiskFull.
        """
        check_received(received)
        named = await to_thread.run_sync(_give_name, file, received.filename, folder)
        report = await to_thread.run_sync(probe, named, self._settings, limiter=self._probes)
        info = SlideInfo(
            id=slide_id,
            tenant=received.tenant,
            filename=received.filename,
            size_bytes=received.size,
            sha256=received.sha256,
            vendor=report.vendor,
            backend=report.backend,
            geometry=report.geometry,
            created_at=datetime.now(UTC),
        )
        await to_thread.run_sync(self._store.commit_slide, info, folder)
        return info


def check_received(received: Received) -> None:
    """Refuse what is empty, and bytes that are not those announced.

    Raises:
        UploadEmpty, RequestInvalid.
    """
    if received.size == 0:
        raise UploadEmpty("The upload holds no bytes.", value=0, accepted="a slide")
    if received.announced is not None and received.announced != received.sha256:
        raise RequestInvalid(
            "The bytes that arrived do not have the SHA-256 that was announced.",
            value=received.sha256,
            accepted=received.announced,
        )


def _give_name(file: Path, filename: str, folder: Path) -> Path:
    """Move the bytes to `original.*` in `folder`, where readers that look at the extension find it; return the path."""
    extension = extension_of(filename)
    if extension is None:
        with file.open("rb") as opened:
            extension = sniff_extension(opened.read(DICOM_MAGIC.stop))
    folder.mkdir(exist_ok=True)
    named = file.rename(folder / f"original{extension}")
    fsync_dir(folder)
    return named
