"""The folder of many results: which slide has which folder in it, the same each time, and one run at a time.

OUT/slides.json      names of folders → the slide that each is for, and its size and time when it was last looked at
OUT/a/, OUT/b/ …     results, as of one slide
"""

import fcntl
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ValidationError

from workers.core.errors.base import RequestInvalid
from workers.core.slides.names import display_name
from workers.core.storage.files import write_json

INDEX: Final = "slides.json"
LOCK: Final = ".slides.lock"
NAME_MAX_BYTES = 150
_ENDING = re.compile(r"(?<=.)(?:\.ome)?(?:\.zarr)?\.[A-Za-z]{2,7}$")
_UNSAFE = re.compile(r"[^\w.+()=,@ -]")


class Known(BaseModel):
    """A slide that has a folder.

    Args:
        path: Of its file; bytes that are no UTF-8 are escaped.
        size_bytes: Of the file, when its results were made or seen to be of it.
        mtime_ns: Likewise.
    """

    path: str
    size_bytes: int
    mtime_ns: int


class Index(BaseModel):
    """`slides.json`."""

    slides: dict[str, Known] = {}


@contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """Make the folder, and have it to oneself.

    Raises:
        RequestInvalid: It is a file, holds the results of one slide, or another run writes into it.
    """
    if out.exists() and not out.is_dir():
        raise RequestInvalid("The output is a file.", value=out, accepted="a folder")
    if (out / "plan.json").exists():
        raise RequestInvalid(
            "The output folder holds the results of one slide.", value=out, accepted="another folder for many"
        )
    out.mkdir(parents=True, exist_ok=True)
    with (out / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RequestInvalid("Another run writes into the output folder.", value=out, accepted="one") from error
        yield


class Folders:
    """Names of folders for slides: that of the slide without its ending, and more of it where two would have the same.

    A slide keeps its name however many others come and go, and also when its file was moved.

    Args:
        out: The folder of all.

    Raises:
        RequestInvalid: Its list is none.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self._index = _read(out / INDEX)

    def assign(self, slides: Sequence[tuple[Path, Path]]) -> list[str]:
        """Return the name of a folder for each slide, and keep the list.

        Args:
            slides: The file of each, and what it is called by.
        """
        known = self._index.slides
        by_path = {each.path: name for name, each in known.items()}
        given = [by_path.get(_key(path)) for path, _ in slides]
        taken = {name.casefold(): name for name in known}
        free = {name for name, each in known.items() if name not in given and not Path(each.path).exists()}
        for at, (path, named) in enumerate(slides):
            if given[at] is None:
                name = self._name(path, named, taken, free)
                taken[name.casefold()] = name
                free.discard(name)
                seen = known.get(name) or Known(path="", size_bytes=-1, mtime_ns=-1)
                known[name] = seen.model_copy(update={"path": _key(path)})
                given[at] = name
        write_json(self.out / INDEX, self._index)
        return [name for name in given if name is not None]

    def is_as_seen(self, name: str, path: Path) -> bool:
        """Whether a slide has the size and the time that it had when it was seen."""
        found, known = path.stat(), self._index.slides[name]
        return (known.size_bytes, known.mtime_ns) == (found.st_size, found.st_mtime_ns)

    def saw(self, name: str, path: Path) -> None:
        """Keep size and time of a slide: its folder has results of it, or will."""
        found = path.stat()
        seen = Known(path=_key(path), size_bytes=found.st_size, mtime_ns=found.st_mtime_ns)
        if self._index.slides.get(name) != seen:
            self._index.slides[name] = seen
            write_json(self.out / INDEX, self._index)

    def _name(self, path: Path, named: Path, taken: dict[str, str], free: set[str]) -> str:
        whole = _safe(named.name)
        stem = named.name if named != path else _ENDING.sub("", named.name)
        digest = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()
        for name in (_safe(stem), whole, f"{_safe(stem)}-{digest[:8]}"):
            if name.casefold() not in taken:
                return name
            mine = taken[name.casefold()]
            if mine in free and Path(self._index.slides[mine].path).name == _key(path).rsplit("/", 1)[-1]:
                return mine
        return digest[:32]


def _read(path: Path) -> Index:
    try:
        return Index.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Index()
    except (OSError, ValidationError) as error:
        raise RequestInvalid("The list of slides in the output folder cannot be read.", value=path) from error


def _key(path: Path) -> str:
    """Return a path as text that can be written; other paths give other texts, also where they are not UTF-8."""
    return os.fsencode(path.resolve()).decode("utf-8", "backslashreplace")


def _safe(name: str) -> str:
    """Return a name for a folder: shown as it is by every terminal, not hidden, no option, at most 150 bytes."""
    safe = _UNSAFE.sub("_", display_name(name)).strip(". ").lstrip("-")
    return safe.encode()[:NAME_MAX_BYTES].decode(errors="ignore").rstrip(". ") or "slide"
