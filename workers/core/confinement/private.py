"""What keeps other users of the machine out: the umask of every process of ours, and the mode of the data folder."""

import logging
import os
import stat
from pathlib import Path

from workers.core.errors.base import RequestInvalid

UMASK = 0o077
FOLDER_MODE = 0o700

logger = logging.getLogger(__name__)


def stay_private() -> None:
    """Let no file or folder that this process and its children make from now on be anybody else's to read."""
    os.umask(UMASK)


def make_private(folder: Path) -> None:
    """Make a folder that its owner alone may enter. One that let others in is closed, and the log says so.

    Raises:
        RequestInvalid: It cannot be made or closed, or belongs to somebody else, who could open it again.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
        found = folder.stat()
        mode = stat.S_IMODE(found.st_mode)
        if found.st_uid == os.geteuid() and mode & UMASK:
            folder.chmod(mode & ~UMASK)
            logger.warning("the data folder let other users in (mode %04o); it is closed to them now", mode)
    except OSError as error:
        raise RequestInvalid(
            f"data_dir: cannot be made, or closed to others: {error.strerror}.",
            value=folder,
            accepted="a folder to write to",
        ) from error
    if found.st_uid != os.geteuid():
        raise RequestInvalid(
            "data_dir: the folder belongs to another user.",
            value=f"{folder}, user {found.st_uid}",
            accepted=f"a folder of the user that the server runs as, {os.geteuid()}",
        )
