"""The directories of a TIFF as lists that can be changed and written again: what the mutants are made with.

Pixels stay where they lie; the directories are written anew behind them. Knows classic TIFF and BigTIFF.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

SUB_DIRECTORIES = 330
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_LETTERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}
_MAGIC = {b"II*\0": ("<", 4), b"MM\0*": (">", 4), b"II+\0": ("<", 8), b"MM\0+": (">", 8)}


@dataclass
class Tag:
    """A tag: the number of its type, how many values, and their bytes in the order of the file."""

    kind: int
    count: int
    raw: bytes


@dataclass
class Directory:
    """A directory and those below it."""

    tags: dict[int, Tag]
    order: str
    subs: list[Self] = field(default_factory=list)

    def numbers(self, tag: int) -> list[int]:
        """Return the whole numbers of a tag; empty if it is not there."""
        found = self.tags.get(tag)
        return (
            [] if found is None else list(struct.unpack(f"{self.order}{found.count}{_LETTERS[found.kind]}", found.raw))
        )

    def number(self, tag: int, default: int = 0) -> int:
        """Return the first whole number of a tag."""
        return next(iter(self.numbers(tag)), default)

    def put(self, tag: int, *values: int, kind: int | None = None) -> None:
        """Set whole numbers, in the type that the tag has, else as 16 or 32 bits."""
        old = self.tags.get(tag)
        kind = kind or (old.kind if old else 3 if max(values) < 2**16 else 4)
        self.tags[tag] = Tag(kind, len(values), struct.pack(f"{self.order}{len(values)}{_LETTERS[kind]}", *values))

    def put_text(self, tag: int, text: str) -> None:
        """Set a text."""
        raw = text.encode() + b"\0"
        self.tags[tag] = Tag(2, len(raw), raw)

    def text(self, tag: int) -> str:
        """Return a text; empty if it is not there."""
        found = self.tags.get(tag)
        return found.raw.rstrip(b"\0").decode(errors="replace") if found else ""

    def rational(self, tag: int) -> tuple[int, int]:
        """Return numerator and denominator."""
        top, bottom = struct.unpack(f"{self.order}II", self.tags[tag].raw)
        return int(top), int(bottom)

    def put_rational(self, tag: int, top: int, bottom: int) -> None:
        """Set a fraction."""
        self.tags[tag] = Tag(5, 1, struct.pack(f"{self.order}II", top, bottom))


class TiffEdit:
    """A TIFF in memory.

    Args:
        path: The file.

    Attributes:
        data: Its bytes; pixels are found in them.
        chain: The directories of the main chain.
        is_loop: The last directory leads back to the first one when this is written.
        last: Changes the bytes of the whole file, last of all.
    """

    def __init__(self, path: Path) -> None:
        self.data = bytearray(path.read_bytes())
        self.order, self.word = _MAGIC[bytes(self.data[:4])]
        self.is_loop = False
        self.last: Callable[[bytes], bytes] = bytes
        self.chain: list[Directory] = []
        at = self._unpack("Q" if self.word == 8 else "I", 8 if self.word == 8 else 4)
        while at:
            directory, at = self._read(at)
            self.chain.append(directory)

    @property
    def pages(self) -> list[Directory]:
        """All directories, those below one after it."""
        return [each for top in self.chain for each in (top, *top.subs)]

    def _unpack(self, letter: str, at: int) -> int:
        return int(struct.unpack_from(self.order + letter, self.data, at)[0])

    def _read(self, at: int) -> tuple[Directory, int]:
        big = self.word == 8
        count = self._unpack("Q" if big else "H", at)
        at += 8 if big else 2
        tags = {}
        for _ in range(count):
            tag, kind = struct.unpack_from(self.order + "HH", self.data, at)
            values = self._unpack("Q" if big else "I", at + 4)
            length = values * _BYTES[kind]
            place = at + 4 + self.word
            start = place if length <= self.word else self._unpack("Q" if big else "I", place)
            tags[tag] = Tag(kind, values, bytes(self.data[start : start + length]))
            at += 4 + 2 * self.word
        directory = Directory(tags, self.order)
        directory.subs = [self._read(sub)[0] for sub in directory.numbers(SUB_DIRECTORIES)]
        return directory, self._unpack("Q" if big else "I", at)

    def append(self, raw: bytes) -> int:
        """Put bytes behind the others and return where they lie."""
        self.data += b"\0" * (-len(self.data) % 8)
        self.data += raw
        return len(self.data) - len(raw)

    def save(self, path: Path) -> None:
        """Write the file with its directories as they are now."""
        letter = "Q" if self.word == 8 else "I"
        pointer = 8 if self.word == 8 else 4
        first = 0
        for directory in self.chain:
            at, next_at = self._write(directory)
            first = first or at
            struct.pack_into(self.order + letter, self.data, pointer, at)
            pointer = next_at
        struct.pack_into(self.order + letter, self.data, pointer, first if self.is_loop else 0)
        path.write_bytes(self.last(bytes(self.data)))

    def _write(self, directory: Directory) -> tuple[int, int]:
        """Append a directory; return where it lies and where the pointer to the following one does."""
        letter = "Q" if self.word == 8 else "I"
        directory.tags.pop(SUB_DIRECTORIES, None)
        if directory.subs:
            places = [self._write(sub)[0] for sub in directory.subs]
            directory.put(SUB_DIRECTORIES, *places, kind=16 if self.word == 8 else 4)
        entries = b""
        for number, tag in sorted(directory.tags.items()):
            place = tag.raw
            if len(place) > self.word:
                place = struct.pack(self.order + letter, self.append(place))
            entries += struct.pack(f"{self.order}HH{letter}", number, tag.kind, tag.count) + place.ljust(
                self.word, b"\0"
            )
        count = struct.pack(self.order + ("Q" if self.word == 8 else "H"), len(directory.tags))
        at = self.append(count + entries + b"\0" * self.word)
        return at, len(self.data) - self.word
