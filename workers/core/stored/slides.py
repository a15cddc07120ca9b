"""Slides in the storage, where there is one beside the data folder, and what hosts read of them.

Files of a slide never change, its record does: so that is an object of its own, see `workers.core.storage.layout`.
"""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from workers.core.checks import Check, unchecked
from workers.core.errors.jobs import OnAnotherHost
from workers.core.slide_schemas import SlideInfo
from workers.core.storage.commits import Commits, Entry, entry_of
from workers.core.storage.files import files_below, names_in
from workers.core.storage.layout import SLIDES, slide_record
from workers.core.store import Store, first_file, slide_missing

RECORD = "slide.json"

logger = logging.getLogger(__name__)


def publish_slide(store: Store, info: SlideInfo, folder: Path, check: Check = unchecked, *, anew: bool = False) -> None:
    """Put a slide into the storage; without one nothing is done. What is there already is not sent again.

    Args:
        store: The data folder, with the storage.
        info: The slide.
        folder: Of its files.
        check: Called before each file; raises if the work is no longer wanted.
        anew: Also where they seem to be there.

    Raises:
        Fenced: Somebody else was quicker.
        OSError: The storage does not take it; nothing of the slide is seen there.
    """
    commits = store.slide_set(info.id)
    if commits is None:
        return
    entries = entries_of(info, folder)
    current = commits.current()
    if current is None or current.files != entries or anew:
        _commit(commits, folder, entries, check)
    publish_record(store, info)


def publish_record(store: Store, info: SlideInfo) -> None:
    """Put the record of a slide into the storage, whose files are there; without a storage nothing is done."""
    store.put_record(slide_record(info.id), info)


def entries_of(info: SlideInfo, folder: Path) -> dict[str, Entry]:
    """Return what is known of the files of a slide; those of a set are read for it."""
    files = [path for path in files_below(folder) if path != folder / RECORD]
    if len(files) == 1:
        size_bytes = files[0].stat().st_size
        return {files[0].name: Entry(size_bytes=size_bytes, sha256=info.stored_sha256 or info.sha256)}
    return {path.relative_to(folder).as_posix(): entry_of(path) for path in files}


def require_own_slide(store: Store, slide_id: str) -> None:
    """Return if a slide may be changed here; one that is nowhere is told by others.

    Raises:
        OnAnotherHost: Its truth lies in another data folder.
    """
    if store.storage is not None and not store.has_slide(slide_id):
        raise OnAnotherHost("Another gateway has this slide.", value=slide_id, accepted="the same, asked of that one")


def is_at_hand(store: Store, slide_id: str) -> bool:
    """Return whether a slide can be read without fetching it."""
    return store.storage is None or store.has_slide(slide_id) or store.copies.has(slide_id)


def remove_stored_slide(store: Store, slide_id: str) -> None:
    """Remove a slide from the storage, its record first, and the copy on this host, if nobody uses that.

    Raises:
        OSError: The storage does not answer; it may be called again.
    """
    if store.storage is None:
        return
    store.storage.delete(slide_record(slide_id))
    store.storage.delete_prefix(SLIDES / slide_id)
    store.copies.drop(slide_id)


def withdraw_incoming(store: Store) -> None:
    """Remove from the storage what a gateway that died had put there of slides that were not acknowledged.

    Call at its start, before what lies in `incoming/` is removed: that alone knows their names. A storage that does not
    answer keeps what it has, and `ldiffusion doctor` tells of it.
    """
    try:
        for slide_id in names_in(store.root / "incoming") if store.storage is not None else ():
            remove_stored_slide(store, slide_id)
    except OSError:
        logger.warning("slides that were on their way in when the gateway ended may be left in the storage")


def forget_copies(store: Store) -> None:
    """Remove what this host has copied of slides that were deleted.

    Raises:
        OSError: The storage does not answer.
    """
    if store.storage is None:
        return
    for slide_id in store.copies.names():
        if not store.storage.has(slide_record(slide_id)):
            store.copies.drop(slide_id)


@contextmanager
def slide_at_hand(store: Store, slide_id: str, check: Check = unchecked) -> Iterator[Path]:
    """Give the file of a slide that a reader opens: of this data folder, or of a copy, which stays for the context.

    Args:
        store: The data folder, with the storage, if there is one.
        slide_id: The slide.
        check: Called while a copy is waited for and made; raises if it is no longer wanted.

    Raises:
        SlideNotFound: There is no such slide.
        CacheTooSmall: It is larger than all copies on this host may be.
        DiskFull.
        OSError: The storage does not give it.
    """
    folder, commits = store.slide_dir(slide_id), store.slide_set(slide_id)
    if commits is None or folder.is_dir():
        yield store.slide_file(slide_id)
        return
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(store.copies.held(slide_id, commits, check))
        except FileNotFoundError as error:
            raise slide_missing(slide_id) from error
        yield first_file(folder, slide_id)


def _commit(commits: Commits, folder: Path, entries: dict[str, Entry], check: Check) -> None:
    token = commits.next_token()
    try:
        for name, entry in entries.items():
            check()
            commits.stage(token, name, folder / name, entry)
        check()
        commits.commit(token, entries)
    except BaseException:
        with suppress(OSError):  # what it leaves, the next commit removes
            commits.withdraw(token)
        raise
