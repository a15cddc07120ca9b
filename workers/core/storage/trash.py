"""What is on its way out: out of sight in one step, then removed, however long that takes."""

import logging
import shutil
import threading
import uuid
from contextlib import suppress
from pathlib import Path

from workers.core.storage.files import fsync_dir

logger = logging.getLogger(__name__)


class Trash:
    """A folder of folders that nobody sees any more.

    Args:
        folder: On the disk of what is thrown away.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def take(self, folder: Path) -> Path:
        """Move a folder out of sight in one step; return where it is now, to be removed.

        Raises:
            FileNotFoundError: It is not there.
        """
        doomed = self.folder / uuid.uuid4().hex
        folder.rename(doomed)
        return doomed

    def discard(self, folder: Path) -> bool:
        """Move a folder out of sight in one step, durably, then remove it; say whether its bytes are gone.

        Raises:
            FileNotFoundError: It is not there.
        """
        doomed = self.take(folder)
        fsync_dir(folder.parent)
        return removed(doomed)

    def drop(self, folder: Path) -> None:
        """Move a folder out of sight in one step, and leave its removal to a thread: it may hold very many files.

        One that is not there has gone already. A process that ends sooner leaves the rest to `empty`.
        """
        with suppress(FileNotFoundError):
            threading.Thread(target=removed, args=(self.take(folder),), daemon=True).start()

    def empty(self) -> int:
        """Remove all of it. What still cannot be removed is logged, and stays.

        Returns:
            The number of folders removed.
        """
        return sum(removed(folder) for folder in self.folder.iterdir())


def removed(folder: Path) -> bool:
    """Remove a folder that is out of sight, as far as the disk lets us; say whether it is gone."""
    shutil.rmtree(folder, ignore_errors=True)
    is_gone = not folder.exists()
    if not is_gone:
        logger.error("%s cannot be removed; it is tried again", folder)
    return is_gone
