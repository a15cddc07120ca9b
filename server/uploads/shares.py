"""What one tenant may announce: an upload that is only announced takes room that others then cannot have."""

from collections.abc import Sequence
from dataclasses import dataclass

from server.uploads.records import Upload
from workers.core.errors.access import UploadsExceeded


@dataclass(frozen=True, slots=True)
class Share:
    """The share of each tenant.

    Attributes:
        part: Of the room that the announcements of all others leave, what one tenant may announce; at most 1.
        most: Uploads of one tenant that may be there at once, but for those that became a slide.
    """

    part: float
    most: int

    def check(self, upload: Upload, known: Sequence[Upload], room_bytes: int) -> None:
        """Refuse a new upload that goes past the share of its tenant.

        However many tenants announce as much as they may, something is left for one more.

        Args:
            upload: The new one, of which no byte has come.
            known: All that are there.
            room_bytes: Free bytes of the disk that are not reserved. What has come of an upload is not among them.

        Raises:
            UploadsExceeded.
        """
        own = [other for other in known if other.tenant == upload.tenant]
        waiting = sum(other.state != "ready" and not other.is_expired for other in own)
        if waiting >= self.most:
            raise UploadsExceeded(
                "The tenant has as many uploads as it may have; finish some or delete them.",
                value=f"{waiting} uploads",
                accepted=f"at most {self.most} that are no slide yet",
            )
        announced = sum(other.promised for other in own)
        others = sum(other.promised for other in known) - announced
        share = int(self.part * max(0, room_bytes - others))
        if announced + upload.length > share:
            raise UploadsExceeded(
                "The tenant has announced too many bytes that have not come; send them, or delete uploads.",
                value=f"{announced} bytes announced, {upload.length} more wanted",
                accepted=f"at most {share} bytes at once",
            )
