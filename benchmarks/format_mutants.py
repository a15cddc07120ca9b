"""Kinds of damage to a good slide, each declared beforehand as one that the file alone gives away, or not."""

from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks import format_changes as c
from benchmarks import format_tile_changes as t


class Kind(NamedTuple):
    """A kind of mutant.

    Attributes:
        name: Of the kind.
        is_detectable: The file alone gives it away: what is read wrong without a word is then a silent fault.
        why: One line, for whoever doubts that.
        change: Makes a mutant of a good slide.
    """

    name: str
    is_detectable: bool
    why: str
    change: Callable[[Any], bool | None]


def told(name: str, why: str, change: Callable[[Any], bool | None]) -> Kind:
    return Kind(name, True, why, change)


def hidden(name: str, why: str, change: Callable[[Any], bool | None]) -> Kind:
    return Kind(name, False, why, change)


TILES_256_64 = c.both(c.put(c.TILE_W, 256), c.put(c.TILE_H, 64))

SIZES = (
    told("sizes_swapped", "levels or the OME-XML say another shape", c.only(c.tells_size, c.swap_sizes)),
    hidden(
        "sizes_swapped_alone",
        "as many tiles either way, and nothing else says a size",
        c.only(c.tells_nothing, c.swap_sizes),
    ),
    told("narrower", "levels or the OME-XML say another width", c.only(c.tells_size, c.resize(-30, 0))),
    hidden("narrower_alone", "a narrower picture is as good a picture", c.only(c.tells_nothing, c.resize(-30, 0))),
    told("wider_by_a_tile", "fewer places than tiles", c.resize(128, 0)),
    told("shorter_by_a_tile", "more places than tiles", c.resize(0, -128)),
    told("level_narrower", "its downsample is no number that fits both sides", c.resize(-30, 0, 1)),
    told("level_shorter", "its downsample is no number that fits both sides", c.resize(0, -20, 2)),
    told("level_padded", "its size is a whole number of tiles beyond what it shows", c.resize(64, 64, 2)),
    told("tiles_larger", "more places than tiles", c.put(c.TILE_W, 256)),
    told("tiles_smaller", "fewer places than tiles", c.put(c.TILE_H, 64)),
    told("tiles_of_another_shape", "the levels show another picture", c.only(c.has_levels, TILES_256_64)),
    hidden("tiles_of_another_shape_alone", "as many tiles of as many bytes", c.only(c.has_no_levels, TILES_256_64)),
)

PIXELS = (
    *(
        told(f"photometric_{value}", "samples, levels, palette or JPEG say otherwise", c.photometric(value))
        for value in (0, 1, 2, 3, 5, 6, 8)
    ),
    hidden("grey_upside_down", "numbers of grey do not say which end is white", c.grey_flipped),
    *(told(f"samples_{n}", "other bytes a tile than that", c.put(c.SAMPLES, n)) for n in (1, 2, 3, 4)),
    told(
        "grey_of_rgb",
        "three times the bytes of a tile",
        c.both(c.put(c.SAMPLES, 1), c.put(c.PHOTOMETRIC, 1), c.put(c.BITS, 8)),
    ),
    *(told(f"bits_{n}", "other bytes a tile than that", c.put(c.BITS, n)) for n in (1, 4, 16)),
    told("bits_mixed", "not one depth", c.put(c.BITS, 8, 8, 16)),
    *(told(f"orientation_{n}", "the tag says it", c.put(c.ORIENTATION, n, everywhere=True)) for n in (2, 3, 6, 8)),
    told("orientation_of_a_level", "the tag says it", c.put(c.ORIENTATION, 3, level=1)),
    told("planes_apart", "a third of the tiles that would take", c.only(c.is_colour, c.put(c.PLANAR, 2))),
    told("planes_together", "three times the tiles that would take", c.only(c.is_planar, c.put(c.PLANAR, 1))),
    *(
        hidden(
            f"extra_{n}",
            "any meaning of a fourth sample is as good",
            c.only(c.has_extra, c.put(c.EXTRA, n, everywhere=True)),
        )
        for n in (0, 1, 2)
    ),
    hidden("palette_reversed", "any table of colours is as good", c.palette(lambda table: table[::-1])),
    told("palette_short", "768 values belong to 8 bits", c.palette(lambda table: table[:384])),
    told("palette_dropped", "a palette picture without a palette", c.drop(c.COLORMAP)),
    told("predictor_of_level_0", "the levels show another picture", c.only(c.has_levels, c.predictor_flipped)),
    *(told(f"compression_{n}", "not what such bytes are", c.put(c.COMPRESSION, n)) for n in (1, 5, 7, 8, 50000)),
    *(told(f"sample_format_{n}", "no 8 bits without a sign", c.put(c.SAMPLE_FORMAT, n)) for n in (2, 3)),
    told("icc_added", "harmless", c.icc),
)

LEVELS = (
    told("level_dropped", "harmless: the others are there", c.levels(lambda levels: levels[:-1])),
    told("levels_reversed", "harmless, or said: the sizes tell", c.levels(lambda levels: levels[::-1])),
    told("level_twice", "harmless: the same level again", c.levels(lambda levels: [levels[0], *levels])),
    told("levels_none", "harmless: level 0 alone", c.levels(lambda _: [])),
    told("level_shifted", "it shows another place than level 0", t.tiles(lambda order: order[1:] + order[:1], 1)),
    told("level_mirrored", "it shows another place than level 0", t.tiles(lambda order: order[::-1], 1)),
    told("last_level_mirrored", "it shows another place than level 0", t.tiles(lambda order: order[::-1], 2)),
    told("level_tile_copied", "one stored tile stands at two places", t.tiles(t.middle_copied, 1)),
    told("level_tiles_swapped", "it shows another place than level 0", t.tiles(t.middle_swapped, 1)),
    told("level_of_one_tile", "one stored tile stands everywhere", t.tiles(lambda order: [order[0]] * len(order), 2)),
    told("level_is_level_0", "as large as level 0 and another picture", c.wrong_level),
    told("small_picture_first", "harmless: the largest is the slide", c.only(c.is_generic, c.chain(c.small_first))),
    told("stranger_first", "two pictures as large as one another", c.only(c.is_generic, c.chain(c.stranger_first))),
    told("stranger_last", "two pictures as large as one another", c.only(c.is_generic, c.chain(c.stranger_last))),
    told(
        "level_0_lost",
        "harmless if it is smaller and says so",
        c.only(c.is_ome, c.chain(lambda chain: chain[1:] or chain)),
    ),
)

TILES = (
    told("offsets_too_few", "fewer places than tiles", t.too_few(c.OFFSETS)),
    told("counts_too_few", "fewer places than tiles", t.too_few(c.COUNTS)),
    told("tile_copied", "one stored tile stands at two places", t.tiles(t.middle_copied)),
    told("tiles_swapped", "the levels show another place", c.only(c.has_levels, t.tiles(t.middle_swapped))),
    hidden(
        "tiles_swapped_alone", "any order of tiles is a picture", c.only(c.has_no_levels, t.tiles(t.middle_swapped))
    ),
    told("tiles_reversed", "the levels show another place", c.only(c.has_levels, t.tiles(lambda order: order[::-1]))),
    told(
        "tiles_shifted",
        "the levels show another place",
        c.only(c.has_levels, t.tiles(lambda order: order[1:] + order[:1])),
    ),
    told("tile_not_stored", "the levels show what is missing", c.only(c.levels_tell, t.count(lambda _: 0))),
    hidden(
        "tile_not_stored_alone",
        "a place that was not scanned is stored so",
        c.only(c.no_levels_tell, t.count(lambda _: 0)),
    ),
    told("tile_cut", "its bytes end too early", t.count(lambda size: size // 2)),
    told("tile_longer", "harmless: what is behind a tile is not looked at", t.count(lambda size: size + 16)),
    told("tile_moved", "no beginning of a tile", c.only(c.is_packed, t.count(lambda at: at + 3, c.OFFSETS))),
    told("tile_outside", "behind the end of the file", t.count(lambda _: 2**31 - 1, c.OFFSETS)),
    told(
        "tile_zeroed",
        "no bytes of a tile, or another picture than the levels",
        c.only(c.has_levels, t.stored(lambda raw: bytes(len(raw)))),
    ),
    told(
        "tile_half_zeroed",
        "half a tile, or another picture than the levels",
        c.only(c.has_levels, t.stored(lambda raw: raw[: len(raw) // 2])),
    ),
    told("jpeg_of_another_size", "its own header says it", t.jpeg_of_another_size),
    told("tables_dropped", "a JPEG without tables", c.drop(347)),
)

RESOLUTION = (
    told("unit_dropped", "no unit, no size", c.drop(c.UNIT)),
    told("unit_none", "no unit, no size", c.put(c.UNIT, 1, everywhere=True)),
    hidden("unit_flipped", "inch or centimetre: both give a size that scanners make", c.unit_flipped),
    told("resolution_dropped", "no size", c.drop(c.X_RES, c.Y_RES)),
    told("resolution_y_dropped", "half a size is none", c.drop(c.Y_RES)),
    told("resolution_zero", "no size", c.resolution(0, 0)),
    told("resolution_thousandfold", "no scanner makes that", c.resolution(1000, 1000)),
    hidden("resolution_tenfold", "a tenth of the size is one that scanners make", c.resolution(10, 10)),
    hidden("resolution_tenth", "ten times the size is one that scanners make", c.resolution(-10, -10)),
    told("resolution_x_tenfold", "no scanner's px are ten times as long as wide", c.resolution(10, 1)),
    told("resolution_y_doubled", "no scanner's px are twice as long as wide", c.resolution(1, 2)),
)

FILES = (
    told(
        "byte_order", "no directory lies there", c.written(lambda raw: {b"II": b"MM", b"MM": b"II"}[raw[:2]] + raw[2:])
    ),
    told(
        "version",
        "no directory lies there",
        c.written(lambda raw: raw[:2] + {42: b"+\0", 43: b"*\0"}.get(raw[2], b"\0+") + raw[4:]),
    ),
    told("loop", "a directory leads back", c.loop),
    told("cut_off", "directories lie behind the end", c.written(lambda raw: raw[: len(raw) - 200])),
    told("cut_in_half", "directories lie behind the end", c.written(lambda raw: raw[: len(raw) // 2])),
    told("chain_cut", "harmless, or planes are missing", c.chain(lambda chain: chain[:1])),
)

DIRECTORY_KINDS: tuple[Kind, ...] = (*SIZES, *PIXELS, *LEVELS, *TILES, *RESOLUTION, *FILES)
