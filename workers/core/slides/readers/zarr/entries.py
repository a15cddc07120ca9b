"""Where the bytes of a Zarr lie: in a zip, which is read as it is, or in a folder.

Nothing is unpacked, nothing outside is read, and nobody gets more bytes than he asks for.
"""

import os
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from workers.core.errors.base import SlideTooLarge, SlideUnreadable
from workers.core.slides.slide import PARSER_ERRORS
from workers.core.slides.zarr_zip import MAX_ENTRIES, root_of

_AT, _PACKED, _SIZE, _CRC, _METHOD = range(5)
_LOCAL_BYTES = 30
_LOCAL_MAGIC = b"PK\3\4"
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_SLACK = 1024
"""Bytes by which packing may make an entry longer, beside an eighth."""


class Entries(ABC):
    """The files of a Zarr by their keys, `0/.zarray` or `0/c/3/7`. Holds its file open; for one thread."""

    @abstractmethod
    def size(self, key: str) -> int | None:
        """Return how many bytes a file has, None if it is not there."""

    @abstractmethod
    def part(self, key: str, start: int, length: int) -> bytes:
        """Return a part of a file that is there, and lies in it as it is.

        Raises:
            ValueError: It does not have these bytes.
        """

    @abstractmethod
    def all_keys(self) -> Iterator[str]:
        """Give the keys of all files."""

    @abstractmethod
    def _whole(self, key: str, size: int) -> bytes:
        """Return all bytes of a file of this size."""

    @abstractmethod
    def mark(self, key: str) -> tuple[int, int] | None:
        """Return what is the same for files of the same bytes; None if it is not known without reading them."""

    def read(self, key: str, most: int) -> bytes | None:
        """Return a file, None if it is not there.

        Args:
            key: Its key.
            most: Bytes it may have.

        Raises:
            ValueError: It has more, or is damaged.
        """
        size = self.size(key)
        if size is None:
            return None
        if size > most:
            raise ValueError(f"{key[:100]} has {size} bytes, and at most {most} make sense")
        return self._whole(key, size)

    @abstractmethod
    def close(self) -> None:
        """Release the file."""


class ZipEntries(Entries):
    """The entries of a zip, stored or deflated.

    Where they lie is held as numbers: the library's own records take many times the room.

    Args:
        path: The zip.

    Raises:
        SlideUnreadable: It is damaged, or holds no Zarr.
        SlideTooLarge: It has too many entries.
    """

    def __init__(self, path: Path) -> None:
        try:
            files = _files(path)
            self._rows = {name: row for row, (name, _) in enumerate(files)}  # of a name that stands twice the last
            self._table = np.array([_row(entry) for _, entry in files], np.uint64).reshape(-1, 5)
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except (zipfile.BadZipFile, *PARSER_ERRORS) as error:
            raise SlideUnreadable("This zip is damaged or cut off.", value=path.name) from error

    def size(self, key: str) -> int | None:
        """Return how many bytes an entry says it has, None if it is not there."""
        row = self._rows.get(key)
        return None if row is None else int(self._table[row, _SIZE])

    def mark(self, key: str) -> tuple[int, int] | None:
        """Return size and checksum."""
        row = self._table[self._rows[key]]
        return int(row[_SIZE]), int(row[_CRC])

    def all_keys(self) -> Iterator[str]:
        """Give the keys of all entries."""
        return iter(self._rows)

    def part(self, key: str, start: int, length: int) -> bytes:
        """Return a part of an entry that is stored as it is."""
        row = self._table[self._rows[key]]
        if row[_METHOD] != zipfile.ZIP_STORED:
            raise ValueError("a shard is packed once more in the zip")
        if start < 0 or length < 0 or start + length > int(row[_SIZE]):
            raise ValueError(f"{key[:100]} does not have the bytes {start} to {start + length}")
        return self._exactly(self._data_at(row) + start, length)

    def _whole(self, key: str, size: int) -> bytes:
        row = self._table[self._rows[key]]
        packed = int(row[_PACKED])
        if packed > size + size // 8 + _SLACK:
            raise ValueError(f"{key[:100]} is packed to {packed} bytes of {size}")
        data = self._exactly(self._data_at(row), packed)
        if row[_METHOD] == zipfile.ZIP_DEFLATED:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size + 1)
        if len(data) != size or zlib.crc32(data) != int(row[_CRC]):
            raise ValueError(f"{key[:100]} does not have its size or its checksum")
        return data

    def _data_at(self, row: "np.ndarray[tuple[int], np.dtype[np.uint64]]") -> int:
        """Return where the bytes of an entry begin: behind its own header, which says how long that is."""
        at = int(row[_AT])
        header = self._exactly(at, _LOCAL_BYTES)
        if header[:4] != _LOCAL_MAGIC:
            raise ValueError("an entry of the zip is not where its directory says")
        return at + _LOCAL_BYTES + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")

    def _exactly(self, at: int, length: int) -> bytes:
        data = os.pread(self._file, length, at)
        if len(data) != length:
            raise ValueError("an entry of the zip reaches behind its end")
        return data

    def close(self) -> None:
        """Release the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _files(path: Path) -> list[tuple[str, zipfile.ZipInfo]]:
    """Return the files of the Zarr in a zip with their keys."""
    with zipfile.ZipFile(path) as archive:
        found = archive.infolist()
    if len(found) > MAX_ENTRIES:
        raise SlideTooLarge(
            "The zip has too many entries.",
            value=len(found),
            accepted=f"at most {MAX_ENTRIES}; larger chunks, or chunks in shards, make fewer",
        )
    root = root_of(entry.filename for entry in found)
    if root is None:
        raise SlideUnreadable(
            "This zip holds no OME-Zarr.", value=path.name, accepted="one OME-Zarr, at its root or in one folder"
        )
    names = ((entry.filename, entry) for entry in found if entry.filename.startswith(root))
    return [(name.removeprefix(root), entry) for name, entry in names if not name.endswith("/")]


def _row(entry: zipfile.ZipInfo) -> tuple[int, ...]:
    if entry.flag_bits & _ENCRYPTED or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise SlideUnreadable(
            "An entry of the zip is encrypted, or packed by a method that is not taken.",
            value=ascii(entry.filename[:200]),
            accepted="stored, or deflate",
        )
    return entry.header_offset, entry.compress_size, entry.file_size, entry.CRC, entry.compress_type


class FolderEntries(Entries):
    """The files of a folder; none that a link leads to.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self._root = os.path.realpath(path)

    def size(self, key: str) -> int | None:
        """Return how many bytes a file has, None if it is not there."""
        path = self._path(key)
        return os.stat(path).st_size if os.path.isfile(path) else None  # noqa: PTH113, PTH116  asked for each chunk

    def part(self, key: str, start: int, length: int) -> bytes:
        """Return a part of a file."""
        if start < 0 or length < 0:
            raise ValueError(f"{key[:100]} does not have the bytes {start} to {start + length}")
        with Path(self._path(key)).open("rb") as file:
            file.seek(start)
            data = file.read(length)
        if len(data) != length:
            raise ValueError(f"{key[:100]} does not have the bytes {start} to {start + length}")
        return data

    def all_keys(self) -> Iterator[str]:
        """Give the keys of all files."""
        for folder, _, files in os.walk(self._root):
            below = os.path.relpath(folder, self._root)
            yield from (name if below == "." else f"{below}/{name}" for name in files)

    def mark(self, key: str) -> None:
        """Return nothing."""

    def _whole(self, key: str, size: int) -> bytes:
        return self.part(key, 0, size)

    def _path(self, key: str) -> str:
        path = os.path.join(self._root, key)  # noqa: PTH118  asked for each chunk
        if os.path.realpath(path) != path:
            raise ValueError(f"{key[:100]} is a link, or outside of the folder")
        return path

    def close(self) -> None:
        """Nothing is held open."""


def open_entries(path: Path) -> Entries:
    """Open a zip or a folder.

    Raises:
        SlideUnreadable, SlideTooLarge: See `ZipEntries`.
    """
    return FolderEntries(path) if path.is_dir() else ZipEntries(path)
