"""Resumable uploads on the disk: what was acknowledged is there after any crash.

    <data>/uploads/<id>/info.json        what is known, written atomically; its `offset` is what was acknowledged
                        data             the bytes, on the disk up to `offset`; what lies beyond is nobody's
                        parts/<id>/      parts to be joined, each as it was as an upload of its own
                        slide/           `data` under its name while it is probed; becomes the slide's folder
    <data>/uploads/.new-<id>/            being made; what it took is given back at start
    <data>/uploads/.old-<id>/            on its way out; removed at start

An upload that expired keeps its info.json for as long again, so that a client that comes back is told why.
"""

import logging
import os
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock

from pydantic import ValidationError

from server.uploads.records import Upload
from server.uploads.shares import Share
from workers.core.disk_room import check_room, disk_full_told, room_bytes
from workers.core.errors.base import UploadExpired, UploadIncomplete, UploadNotFound
from workers.core.settings import Settings
from workers.core.storage.files import fsync_dir, write_json

ID = re.compile(r"[0-9a-f]{32}")
COPY_BYTES = 4 * 2**20
_INFO, _DATA, _PARTS, _SLIDE = "info.json", "data", "parts", "slide"
_NEW, _OLD = ".new-", ".old-"

logger = logging.getLogger(__name__)


class UploadStore:
    """The folder of resumable uploads. Every method blocks; callers see to it that one at a time changes an upload.

    Args:
        root: `<data>/uploads`; made with the first upload.
        settings: For the time to live and the room to leave.
    """

    def __init__(self, root: Path, settings: Settings) -> None:
        self._root = root
        self._expires = timedelta(seconds=settings.upload_expires_s)
        self._empty_expires = min(self._expires, timedelta(seconds=settings.upload_empty_s))
        self._reserve_bytes = settings.disk_reserve_bytes
        self._share = Share(settings.upload_share, settings.uploads_per_tenant)
        self._creating = Lock()
        self._unreadable: set[str] = set()  # those that the log has a line of

    def new_expiry(self) -> datetime:
        """Return when an upload whose last byte came now expires."""
        return datetime.now(UTC) + self._expires

    def empty_expiry(self) -> datetime:
        """Return when an upload that is announced now expires, if no byte of it comes."""
        return datetime.now(UTC) + self._empty_expires

    def data_file(self, upload_id: str) -> Path:
        """Return where the bytes of an upload lie, whether or not they are there."""
        return self._root / upload_id / _DATA

    def slide_folder(self, upload_id: str) -> Path:
        """Return the folder in which an upload is probed, whether or not it is there."""
        return self._root / upload_id / _SLIDE

    def create(self, upload: Upload) -> None:
        """Make the folder of a new upload, taking over the folders of its parts, durably and at once.

        Raises:
            DiskFull: The upload would leave too little room, once those under way have all their bytes.
            UploadsExceeded: Its tenant has announced as much as it may.
            UploadNotFound: A part is not there any more. The others stay as they were.
        """
        self._root.mkdir(parents=True, exist_ok=True)
        more = max((part.length for part in upload.parts), default=upload.length)  # a part goes once it is copied
        with self._creating:  # two at once see each other
            known = self._all()
            check_room(self._root, sum(other.promised for other in known) + more, self._reserve_bytes)
            if not upload.parts:  # what is joined is there already
                self._share.check(upload, known, room_bytes(self._root, self._reserve_bytes))
            self._make(upload)

    def _make(self, upload: Upload) -> None:
        folder = self._root / f"{_NEW}{upload.id}"
        (folder / _PARTS).mkdir(parents=True)
        try:
            for part in upload.parts:
                self._take(part.id, folder / _PARTS / part.id)
            fsync_dir(folder / _PARTS)
            if not upload.parts:
                (folder / _DATA).touch()
            write_json(folder / _INFO, upload)
            folder.rename(self._root / upload.id)
        finally:
            self._give_back(folder)
        fsync_dir(self._root)

    def read(self, upload_id: str) -> Upload:
        """Return what is known of an upload.

        Raises:
            UploadNotFound: There is none of this id.
            UploadExpired: There was.
        """
        upload = self._read(upload_id)
        if upload.is_expired:
            raise UploadExpired("This upload has expired.", value=upload_id, accepted="a new upload")
        return upload

    def owner(self, upload_id: str) -> str:
        """Return the tenant whose upload this is, or was before it expired.

        Raises:
            UploadNotFound: There is none of this id.
        """
        return self._read(upload_id).tenant

    def maker(self, upload_id: str) -> str | None:
        """Return the id of the key that made an upload; None if it was no key, or there is no such upload."""
        try:
            return self._read(upload_id).made_by
        except UploadNotFound:
            return None

    def list_uploads(self) -> list[Upload]:
        """Return all uploads that have not expired, the newest first."""
        known = [upload for upload in self._all() if not upload.is_expired]
        return sorted(known, key=lambda upload: (upload.created_at, upload.id), reverse=True)

    def save(self, upload: Upload) -> None:
        """Write what is known of an upload, durably."""
        try:
            write_json(self._root / upload.id / _INFO, upload)
        except FileNotFoundError as error:
            raise upload_missing(upload.id) from error

    def join(self, upload: Upload) -> Upload:
        """Put the parts of an upload behind each other into `data`; goes on where an earlier attempt was cut off.

        A part is removed once its bytes are on the disk in their new place, so the disk holds one part twice at most.

        Returns:
            The upload with all parts joined.
        """
        for number in range(upload.joined, len(upload.parts)):
            part = upload.parts[number]
            folder = self._root / upload.id / _PARTS / part.id
            self._join_one(upload, number, folder / _DATA)
            upload = upload.model_copy(update={"joined": number + 1})
            self.save(upload)
            shutil.rmtree(folder, ignore_errors=True)
        return upload

    def _join_one(self, upload: Upload, number: int, source: Path) -> None:
        target = self.data_file(upload.id)
        if number == 0:  # the first part need not be copied; it is gone here if this was done before a crash
            if source.exists():
                source.replace(target)
            fsync_dir(target.parent)
            return
        start = sum(part.length for part in upload.parts[:number])
        check_room(self._root, upload.parts[number].length, self._reserve_bytes)
        with source.open("rb") as reader, target.open("r+b") as writer, disk_full_told(upload.length):
            writer.truncate(start)
            writer.seek(start)
            shutil.copyfileobj(reader, writer, COPY_BYTES)
            writer.flush()
            os.fsync(writer.fileno())

    def complete_file(self, upload_id: str) -> Path:
        """Return where all bytes of a complete upload lie: in `data`, put back there if a crash left them in `slide`.

        Raises:
            UploadIncomplete: They are not there.
        """
        data = self.data_file(upload_id)
        if not data.is_file():
            found = [path for path in sorted(self.slide_folder(upload_id).glob("original*")) if path.is_file()]
            if not found:
                raise UploadIncomplete("The bytes of this upload are not there any more.", value=upload_id)
            found[0].rename(data)
        return data

    def drop_bytes(self, upload_id: str) -> None:
        """Remove the bytes of an upload; what is known of it stays."""
        folder = self._root / upload_id
        (folder / _DATA).unlink(missing_ok=True)
        for name in (_PARTS, _SLIDE):
            shutil.rmtree(folder / name, ignore_errors=True)

    def remove(self, upload_id: str) -> None:
        """Remove an upload with its bytes.

        Raises:
            UploadNotFound: There is none of this id.
        """
        doomed = self._root / f"{_OLD}{upload_id}"
        try:
            (self._root / _checked(upload_id)).rename(doomed)
        except FileNotFoundError as error:
            raise upload_missing(upload_id) from error
        fsync_dir(self._root)
        shutil.rmtree(doomed, ignore_errors=True)

    def expired(self) -> list[str]:
        """Return the ids of uploads whose time is over; those being checked have all the time they need."""
        return [upload.id for upload in self._all() if upload.is_expired]

    def expire(self, upload_id: str) -> None:
        """Remove the bytes of an expired upload, or all of it when it has been expired for as long as it had lived."""
        try:
            upload = self._read(upload_id)
        except UploadNotFound:
            return
        if not upload.is_expired:
            return
        lived = self._expires if upload.offset else self._empty_expires
        if upload.expires_at + lived < datetime.now(UTC):
            self.remove(upload_id)
        else:
            self.drop_bytes(upload_id)

    def recover(self) -> None:
        """Mend what a process that died left half-made. Call before taking uploads."""
        for folder in self._root.glob(f"{_NEW}*"):
            self._give_back(folder)
        for folder in self._root.glob(f"{_OLD}*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _take(self, part_id: str, target: Path) -> None:
        try:
            (self._root / _checked(part_id)).rename(target)
        except FileNotFoundError as error:
            raise upload_missing(part_id) from error

    def _give_back(self, folder: Path) -> None:
        """Undo the making of an upload, if it was not finished: its parts are uploads of their own again."""
        if not folder.exists():
            return
        parts = sorted((folder / _PARTS).iterdir()) if (folder / _PARTS).exists() else []
        for part in parts:
            part.rename(self._root / part.name)
        fsync_dir(self._root)
        shutil.rmtree(folder, ignore_errors=True)

    def _read(self, upload_id: str) -> Upload:
        """Return what is known of an upload; a record that says nothing is none, and stays for a person to look at."""
        try:
            return Upload.model_validate_json((self._root / _checked(upload_id) / _INFO).read_bytes())
        except (FileNotFoundError, NotADirectoryError) as error:
            raise upload_missing(upload_id) from error
        except ValidationError as error:
            self._pass_over(upload_id, error)
            raise upload_missing(upload_id) from error

    def _all(self) -> list[Upload]:
        uploads = []
        for folder in self._root.iterdir() if self._root.exists() else ():
            if not ID.fullmatch(folder.name):
                continue
            try:
                uploads.append(self._read(folder.name))
            except UploadNotFound:  # removed meanwhile, or not to be understood
                continue
            except OSError as error:  # one that the disk does not give is no reason to know nothing of the others
                self._pass_over(folder.name, error)
        return uploads

    def _pass_over(self, upload_id: str, error: Exception) -> None:
        if upload_id not in self._unreadable:
            self._unreadable.add(upload_id)
            logger.error("%s cannot be read and is passed over: %s", self._root / upload_id / _INFO, error)


def _checked(upload_id: str) -> str:
    if not ID.fullmatch(upload_id):
        raise UploadNotFound("No upload has this id.", value=upload_id, accepted="32 hexadecimal characters")
    return upload_id


def upload_missing(upload_id: str) -> UploadNotFound:
    """Return the error of an id that no upload has; another tenant's upload is told by the very same."""
    return UploadNotFound("No upload has this id.", value=upload_id)
