"""Changes to the directories of a good slide: what the kinds of mutants are put together from.

A change returns False where it does not apply to a file.
"""

from collections.abc import Callable
from copy import deepcopy

from benchmarks.format_edit import Directory, Tag, TiffEdit

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, DESCRIPTION, ORIENTATION = 256, 257, 258, 259, 262, 270, 274
SAMPLES, X_RES, Y_RES, PLANAR, UNIT, PREDICTOR, COLORMAP = 277, 282, 283, 284, 296, 317, 320
TILE_W, TILE_H, OFFSETS, COUNTS, EXTRA, SAMPLE_FORMAT, ICC = 322, 323, 324, 325, 338, 339, 34675
RGB, JPEG = 2, 7

Change = Callable[[TiffEdit], bool | None]


def is_ome(edit: TiffEdit) -> bool:
    """Whether there is OME-XML."""
    return "<OME" in edit.chain[0].text(DESCRIPTION)


def levels_of(edit: TiffEdit) -> list[Directory]:
    """Return the directories of the picture, level 0 first: those below it, else those of the chain."""
    main = main_of(edit)
    below = main.subs or [each for each in edit.chain if each is not main and not is_ome(edit)]
    return [main, *(each for each in below if TILE_W in each.tags or TILE_W not in main.tags)]


def main_of(edit: TiffEdit) -> Directory:
    """Return the largest directory of the chain."""
    return max(edit.chain, key=lambda each: each.number(WIDTH) * each.number(HEIGHT))


def put(tag: int, *values: int, everywhere: bool = False, level: int = 0) -> Change:
    def change(edit: TiffEdit) -> bool | None:
        found = edit.pages if everywhere else levels_of(edit)[level : level + 1]
        if not found or all(each.numbers(tag) == list(values) for each in found):
            return False
        for each in found:
            each.put(tag, *values)
        return None

    return change


def drop(*tags: int) -> Change:
    def change(edit: TiffEdit) -> bool | None:
        return False if not [page.tags.pop(tag) for page in edit.pages for tag in tags if tag in page.tags] else None

    return change


def only(condition: Callable[[TiffEdit], bool], change: Change) -> Change:
    return lambda edit: change(edit) if condition(edit) else False


def tells_size(edit: TiffEdit) -> bool:
    """Whether OME-XML or levels that are not padded say of which size level 0 is."""
    main, *below = (level.number(WIDTH) for level in levels_of(edit))
    return is_ome(edit) or any(main % width < width // 64 for width in below)


def has_levels(edit: TiffEdit) -> bool:
    """Whether level 0 has tiles and levels."""
    return len(levels_of(edit)) > 1 and TILE_W in main_of(edit).tags


def tells_nothing(edit: TiffEdit) -> bool:
    """Whether nothing but the directory itself says a size."""
    return not tells_size(edit)


def resize(by_width: int, by_height: int, level: int = 0) -> Change:
    def change(edit: TiffEdit) -> bool | None:
        if level >= len(levels_of(edit)):
            return False
        page = levels_of(edit)[level]
        page.put(WIDTH, page.number(WIDTH) + by_width)
        page.put(HEIGHT, page.number(HEIGHT) + by_height)
        return None

    return change


def swap_sizes(edit: TiffEdit) -> None:
    page = main_of(edit)
    width, height = page.number(WIDTH), page.number(HEIGHT)
    page.put(WIDTH, height)
    page.put(HEIGHT, width)


def resolution(x: int, y: int) -> Change:
    def change(edit: TiffEdit) -> bool | None:
        if X_RES not in main_of(edit).tags or main_of(edit).number(UNIT) < 2:
            return False
        for page in edit.pages:
            for tag, factor in ((X_RES, x), (Y_RES, y)):
                if tag in page.tags:
                    top, bottom = page.rational(tag)
                    scale = factor if factor >= 0 else 1
                    page.put_rational(tag, top * scale, bottom * (-factor if factor < 0 else 1))
        return None

    return change


def unit_flipped(edit: TiffEdit) -> bool | None:
    unit = main_of(edit).number(UNIT)
    if unit not in (2, 3):
        return False
    for page in edit.pages:
        page.put(UNIT, 5 - unit)
    return None


def icc(edit: TiffEdit) -> None:
    main_of(edit).tags[ICC] = Tag(7, 128, b"\0" * 128)


def chain(arrange: Callable[[list[Directory]], list[Directory]]) -> Change:
    def change(edit: TiffEdit) -> bool | None:
        before = list(edit.chain)
        edit.chain = arrange(list(edit.chain))
        return False if edit.chain == before else None

    return change


def levels(arrange: Callable[[list[Directory]], list[Directory]]) -> Change:
    """Change the list of the levels below level 0, in SubIFDs or in the chain."""

    def change(edit: TiffEdit) -> bool | None:
        main, below = main_of(edit), levels_of(edit)[1:]
        if not below or arrange(below) == below:
            return False
        if main.subs:
            main.subs = arrange(below)
        else:
            edit.chain = [*(each for each in edit.chain if each not in below), *arrange(below)]
        return None

    return change


def mirrored(page: Directory) -> Directory:
    """The same tiles in the opposite order: another picture of the same size."""
    other = deepcopy(page)
    other.subs = []
    for tag in (OFFSETS, COUNTS):
        if tag in other.tags:
            other.put(tag, *reversed(other.numbers(tag)))
    other.tags.pop(DESCRIPTION, None)
    return other


def written(change: Callable[[bytes], bytes]) -> Change:
    """Change the file as it is written in the end."""

    def remember(edit: TiffEdit) -> None:
        edit.last = change

    return remember


def loop(edit: TiffEdit) -> None:
    edit.is_loop = True


def is_generic(edit: TiffEdit) -> bool:
    return not is_ome(edit) and not edit.chain[0].text(DESCRIPTION)


def wrong_level(edit: TiffEdit) -> bool | None:
    """The first level is another picture of the size of level 0."""
    return levels(lambda below: [mirrored(main_of(edit)), *below[1:]])(edit)


def small_first(chain: list[Directory]) -> list[Directory]:
    """A small copy of the last level stands first, as thumbnails do."""
    return [deepcopy(chain[-1]), *chain]


def stranger_first(chain: list[Directory]) -> list[Directory]:
    """Another picture, as large, stands first."""
    return [mirrored(chain[0]), *chain]


def stranger_last(chain: list[Directory]) -> list[Directory]:
    """Another picture, as large, stands last."""
    return [*chain, mirrored(chain[0])]


def both(*changes: Change) -> Change:
    """Make several changes; each one may find nothing to do, not all."""
    return lambda edit: False if [change(edit) for change in changes].count(False) == len(changes) else None


def is_colour(edit: TiffEdit) -> bool:
    """Whether a px of level 0 has several samples side by side."""
    return main_of(edit).number(SAMPLES, 1) > 1 and not is_planar(edit)


def is_planar(edit: TiffEdit) -> bool:
    """Whether the samples of level 0 lie in planes."""
    return main_of(edit).number(PLANAR, 1) == 2


def has_extra(edit: TiffEdit) -> bool:
    """Whether a px has a sample that is no colour."""
    return EXTRA in main_of(edit).tags


def has_no_levels(edit: TiffEdit) -> bool:
    """Whether level 0 is all there is."""
    return not has_levels(edit)


def is_packed(edit: TiffEdit) -> bool:
    """Whether tiles are compressed."""
    return main_of(edit).number(COMPRESSION, 1) != 1


def photometric(value: int) -> Change:
    """Level 0 and its levels are of another kind of pixels; not grey for upside-down grey, see `grey_flipped`."""

    def change(edit: TiffEdit) -> bool | None:
        is_grey_to_grey = {value, main_of(edit).number(PHOTOMETRIC)} == {0, 1}
        return False if is_grey_to_grey else put(PHOTOMETRIC, value, everywhere=True)(edit)

    return change


def grey_flipped(edit: TiffEdit) -> bool | None:
    """Black is white and white is black."""
    before = main_of(edit).number(PHOTOMETRIC)
    return put(PHOTOMETRIC, 1 - before, everywhere=True)(edit) if before in (0, 1) else False


def predictor_flipped(edit: TiffEdit) -> bool | None:
    """Level 0 holds differences of neighbours, or no longer does."""
    page = main_of(edit)
    return put(PREDICTOR, 3 - page.number(PREDICTOR, 1))(edit) if page.number(COMPRESSION) in (5, 8) else False


def palette(arrange: Callable[[list[int]], list[int]]) -> Change:
    """Change the table of colours."""

    def change(edit: TiffEdit) -> bool | None:
        table = main_of(edit).numbers(COLORMAP)
        if not table:
            return False
        main_of(edit).put(COLORMAP, *arrange(table))
        return None

    return change


def is_aperio(edit: TiffEdit) -> bool:
    """Whether it says so: OpenSlide takes a tile of no bytes for a place not scanned, in all levels."""
    return edit.chain[0].text(DESCRIPTION).startswith("Aperio")


def levels_tell(edit: TiffEdit) -> bool:
    """Whether levels show what is missing in level 0."""
    return has_levels(edit) and not is_aperio(edit)


def no_levels_tell(edit: TiffEdit) -> bool:
    """Whether nothing shows what is missing in level 0."""
    return not levels_tell(edit)
