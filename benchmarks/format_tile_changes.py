"""Changes to where the tiles of a good slide lie and to their bytes; see `format_changes`."""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from benchmarks.format_changes import COMPRESSION, COUNTS, JPEG, OFFSETS, Change, levels_of, main_of
from benchmarks.format_edit import TiffEdit


def tiles(arrange: Callable[[list[int]], list[int]], level: int = 0) -> Change:
    """Change which stored tile stands where: both lists of a level in the same way."""

    def change(edit: TiffEdit) -> bool | None:
        found = levels_of(edit)[level : level + 1]
        if not found or OFFSETS not in found[0].tags:
            return False
        order = arrange(list(range(len(found[0].numbers(OFFSETS)))))
        for tag in (OFFSETS, COUNTS):
            values = found[0].numbers(tag)
            found[0].put(tag, *(values[index] for index in order))
        return None

    return change


def middle_copied(order: list[int]) -> list[int]:
    """The tile in the middle stands in for its neighbour too."""
    middle = len(order) // 2
    return [*order[: middle + 1], middle, *order[middle + 2 :]]


def middle_swapped(order: list[int]) -> list[int]:
    middle = len(order) // 2
    order[middle - 1], order[middle] = order[middle], order[middle - 1]
    return order


def count(change_of: Callable[[int], int], tag: int = COUNTS, level: int = 0) -> Change:
    """Change the place or the size of the tile in the middle."""

    def change(edit: TiffEdit) -> bool | None:
        found = levels_of(edit)[level : level + 1]
        values = found[0].numbers(tag) if found else []
        if not values:
            return False
        values[len(values) // 2] = change_of(values[len(values) // 2])
        found[0].put(tag, *values, kind=4 if tag == COUNTS else None)
        return None

    return change


def too_few(tag: int) -> Change:
    def change(edit: TiffEdit) -> bool | None:
        page = main_of(edit)
        values = page.numbers(tag)
        if not values:
            return False
        page.put(tag, *values[: len(values) // 2])
        return None

    return change


def stored(write: Callable[[bytes], bytes]) -> Change:
    """Change the stored bytes of the tile in the middle of level 0."""

    def change(edit: TiffEdit) -> bool | None:
        page = main_of(edit)
        places, sizes = page.numbers(OFFSETS), page.numbers(COUNTS)
        if not places:
            return False
        middle = len(places) // 2
        at, size = places[middle], sizes[middle]
        edit.data[at : at + size] = write(bytes(edit.data[at : at + size])).ljust(size, b"\0")[:size]
        return None

    return change


def jpeg_of_another_size(edit: TiffEdit) -> bool | None:
    page = main_of(edit)
    if page.number(COMPRESSION) != JPEG or OFFSETS not in page.tags:
        return False
    file = io.BytesIO()
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(file, "JPEG")
    places, sizes = page.numbers(OFFSETS), page.numbers(COUNTS)
    places[7], sizes[7] = edit.append(file.getvalue()), len(file.getvalue())
    page.put(OFFSETS, *places)
    page.put(COUNTS, *sizes)
    return None
