"""Walks the directories of a TIFF: the one place that knows how they are laid out, and what makes no sense in them.

Knows classic TIFF, BigTIFF, and NDPI, which is classic TIFF with 64-bit offsets squeezed in. It is lazy: of a tag's
values only the place is kept, see `tiff_values`.
Files are untrusted: nothing that one claims costs more memory or time than the limits here say.
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from workers.core.errors.base import SlideTooLarge, SlideUnreadable
from workers.core.slides.tiff.values import TYPE_BYTES, WHOLE_NUMBERS, Reader, Tag, Values, cut_off, exactly, senseless

MAX_DIRECTORIES = 4096
MAX_REFERENCES = 2 * MAX_DIRECTORIES
"""To directories: one may be found both in the chain and in a list of sub-directories."""

MAX_TAGS = 4096
MAX_TAGS_IN_ALL = 2**18
"""Of all directories together: most have twenty, those of an NDPI eighty."""

TIFF_MAGIC = {b"II*\0": ("<", 4), b"MM\0*": (">", 4), b"II+\0": ("<", 8), b"MM\0+": (">", 8)}
"""First bytes of a TIFF: byte order, and bytes of an offset."""

_NDPI = 65420


_SINGLE = frozenset(
    (Tag.WIDTH, Tag.HEIGHT, Tag.COMPRESSION, Tag.SAMPLES, Tag.ROWS_PER_STRIP, Tag.TILE_WIDTH, Tag.TILE_HEIGHT)
)
_CHECKED = _SINGLE | {
    *(Tag.BITS, Tag.SUB_DIRECTORIES, Tag.STRIP_OFFSETS, Tag.STRIP_SIZES, Tag.TILE_OFFSETS, Tag.TILE_SIZES)
}
"""Tags that limits are put on. Where one could be read in two ways, a reader may see what was not checked."""


class Directory(NamedTuple):
    """A directory: one picture, or a level of one.

    Attributes:
        at: Where it lies.
        tags: Its tags by number; of one that is there twice the first, as libtiff has it.
        tag_count: How many tags it has, those that are there twice counted twice.
        following: Where the next one of the chain lies; 0: it is the last.
    """

    at: int
    tags: Mapping[int, Values]
    tag_count: int
    following: int

    def number(self, read: Reader, tag: Tag, default: int = 0) -> int:
        """Return the first value of a tag that has whole numbers, or the default where there is no such tag."""
        return self.tags[tag].one(read) if tag in self.tags else default


@dataclass(frozen=True, slots=True)
class Tiff:
    """A TIFF, of which nothing but the header was read.

    Attributes:
        read: Gives its bytes.
        size: Bytes that it has.
        order: Byte order, `<` or `>`.
        word: Bytes of an offset: 4, or 8 in a BigTIFF.
        first: Where the first directory lies.
        is_ndpi: It is classic TIFF with offsets of 64 bits.
    """

    read: Reader
    size: int
    order: str
    word: int
    first: int = 0
    is_ndpi: bool = False

    @property
    def count_format(self) -> str:
        """How `struct` packs the number of tags of a directory."""
        return self.order + ("Q" if self.word == 8 else "H")

    @property
    def offset_format(self) -> str:
        """How `struct` packs an offset, or the number of a tag's values."""
        return self.order + ("Q" if self.word == 8 else "I")

    @property
    def entry_bytes(self) -> int:
        """Bytes of a tag in a directory."""
        return 20 if self.word == 8 else 12

    def chain(self) -> Iterator[Directory]:
        """Yield the directories of the main chain in their order: for most readers, the pages.

        Raises:
            SlideUnreadable: The file is cut off, the chain is a loop, or a directory makes no sense.
            SlideTooLarge: There are too many directories or tags.
        """
        return self._walk(self._next_of)

    def directories(self) -> Iterator[Directory]:
        """Yield all directories, sub-directories too, each once, however many ways lead to it.

        Raises:
            SlideUnreadable: The file is cut off, a directory leads back to itself, or one makes no sense.
            SlideTooLarge: There are too many directories or tags.
        """
        return self._walk(self._all_of)

    def _walk(self, ways_of: Callable[[Directory], list[int]]) -> Iterator[Directory]:
        """Go down first, and remember what is open: who comes to that again went round. What is closed is known."""
        pending, opened, closed = [(self.first, False)], set[int](), set[int]()
        references = tags = 0
        while pending:
            at, is_left = pending.pop()
            if is_left:
                opened.remove(at)
                closed.add(at)
            elif at in opened:
                raise SlideUnreadable("The directories of this TIFF form a loop.", value=f"offset {at}")
            elif at and at not in closed:
                directory = self.directory(at)
                opened.add(at)
                ways = ways_of(directory)
                references, tags = references + len(ways), tags + directory.tag_count
                _check_totals(len(opened) + len(closed), references, tags)
                yield directory
                pending += [(at, True), *((way, False) for way in ways)]

    def _next_of(self, directory: Directory) -> list[int]:
        return [directory.following]

    def _all_of(self, directory: Directory) -> list[int]:
        below = directory.tags.get(Tag.SUB_DIRECTORIES)
        if below is None:
            return [directory.following]
        if below.count > MAX_REFERENCES:
            raise _too_many("directories", MAX_DIRECTORIES)
        return [directory.following, *(int(at) for at in reversed(below.all(self.read)))]

    def directory(self, at: int) -> Directory:
        """Return the directory that lies at a place.

        Raises:
            SlideUnreadable: It, or what it points to, lies outside the file, or it makes no sense.
        """
        start, heads = self._heads(at)
        _check_heads(heads)
        end = start + len(heads) * self.entry_bytes
        is_wide = self.is_ndpi and self.size >= 2**32
        high = self._unpack(f"{self.order}{len(heads)}I", end + 8) if is_wide else (0,) * len(heads)
        tags: dict[int, Values] = {}
        for i, (tag, kind, count, word) in enumerate(heads):
            entry_at = start + i * self.entry_bytes
            is_inside = count * TYPE_BYTES.get(kind, 0) <= self.word
            values_at = entry_at + self.entry_bytes - self.word if is_inside else word + (high[i] << 32)
            values = Values(entry_at, values_at, kind, count, self.order)
            if values.at + values.length > self.size:
                raise cut_off(f"tag {tag} ends at byte {values.at + values.length}", self.size)
            tags.setdefault(tag, values)
        following = self._unpack(f"{self.order}Q" if is_wide else self.offset_format, end)[0]
        return Directory(at, tags, len(heads), following)

    def first_directory(self) -> "Tiff":
        """Return this TIFF with the place of its first directory; it alone tells an NDPI, by what lies there.

        Raises:
            SlideUnreadable: The file ends within the header.
        """
        if self.word == 8:
            return replace(self, first=self._unpack(f"{self.order}Q", 8)[0])
        wide = self._unpack(f"{self.order}Q", 4)[0]
        if self._is_ndpi(wide):
            return replace(self, first=wide, is_ndpi=True)
        return replace(self, first=self._unpack(self.offset_format, 4)[0])

    def _is_ndpi(self, at: int) -> bool:
        try:
            _, heads = self._heads(at)
        except SlideUnreadable:
            return False
        return any(head.tag == _NDPI for head in heads)

    def _heads(self, at: int) -> tuple[int, list["_Head"]]:
        """Return where the first tag of the directory at a place lies, and all of them."""
        count = self._unpack(self.count_format, at)[0]
        if count > MAX_TAGS:
            raise senseless(f"{count} tags", f"at most {MAX_TAGS}")
        start = at + struct.calcsize(self.count_format)
        raw = self._bytes(start, count * self.entry_bytes)
        layout = f"{self.order}HH{2 * self.offset_format[1]}"
        return start, [_Head(*head) for head in struct.iter_unpack(layout, raw)]

    def _unpack(self, layout: str, at: int) -> tuple[int, ...]:
        return struct.unpack(layout, self._bytes(at, struct.calcsize(layout)))

    def _bytes(self, at: int, length: int) -> bytes:
        if at + length > self.size:
            raise cut_off(f"a directory ends at byte {at + length}", self.size)
        return exactly(self.read, at, length)


class _Head(NamedTuple):
    """A tag as a directory has it."""

    tag: int
    kind: int
    values: int
    word: int


def open_tiff(read: Reader, size: int) -> Tiff | None:
    """Return the TIFF that a reader gives the bytes of, None if it is no TIFF at all.

    Args:
        read: Gives the bytes.
        size: How many there are.

    Raises:
        SlideUnreadable: The file ends within the header.
        OSError: It cannot be read.
    """
    known = TIFF_MAGIC.get(read(0, 4))
    if known is None:
        return None
    return Tiff(read, size, *known).first_directory()


def _check_heads(heads: list[_Head]) -> None:
    """Refuse tags that readers take in different ways: no whole numbers, several of one, a tag twice."""
    seen = set()
    for tag, kind, count, _ in heads:
        if tag not in _CHECKED:
            continue
        if tag in seen or kind not in WHOLE_NUMBERS or (tag in _SINGLE and count != 1):
            one = ", and one of them" if tag in _SINGLE else ""
            raise senseless(f"tag {tag}, type {kind}, {count} values", f"each tag once, of whole numbers{one}")
        seen.add(tag)


def _check_totals(directories: int, references: int, tags: int) -> None:
    if directories > MAX_DIRECTORIES or references > MAX_REFERENCES:
        raise _too_many("directories", MAX_DIRECTORIES)
    if tags > MAX_TAGS_IN_ALL:
        raise _too_many("tags", MAX_TAGS_IN_ALL)


def _too_many(what: str, most: int) -> SlideTooLarge:
    message = f"This TIFF holds too many {what}."
    return SlideTooLarge(message, value=f"more than {most}", accepted=f"at most {most}")
