"""Kinds of damage to a good OME-Zarr; see `format_mutants`."""

from benchmarks import format_chunk_changes as t
from benchmarks import format_zarr_changes as z
from benchmarks.format_mutants import Kind, hidden, told
from benchmarks.format_zarr_changes import only

LEVELS_TELL, OTHER_PICTURE = "the levels show another picture", "it shows another picture than level 0"

CHUNKS = (
    told("chunk_lost", "the levels show what is missing", only(z.has_levels, t.stored(0, t.lost))),
    hidden("chunk_lost_alone", "what is not stored is fill", only(z.has_no_levels, t.stored(0, t.lost))),
    told("chunks_lost", "no chunk at all is stored", t.stored(0, lambda keys: [None] * len(keys))),
    told("chunk_copied", "one stored chunk stands at two places", only(z.is_not_sharded, t.stored(0, t.copied))),
    told("chunks_swapped", LEVELS_TELL, only(z.has_levels, t.swapped)),
    hidden("chunks_swapped_alone", "any order of chunks is a picture", only(z.has_no_levels, t.swapped)),
    hidden(
        "chunks_of_a_channel_swapped", "a third of the colours differs as filters do", t.stored(0, t.swapped_in_one)
    ),
    told("chunks_reversed", LEVELS_TELL, only(z.has_levels, t.stored(0, lambda keys: list(keys[::-1])))),
    *(told(f"chunk_of_level_{k}_lost", OTHER_PICTURE, t.stored(k, t.lost)) for k in (1, 2)),
    *(told(f"level_{k}_reversed", OTHER_PICTURE, t.stored(k, lambda keys: list(keys[::-1]))) for k in (1, 2)),
    told("chunk_cut", "its bytes end too early", t.content(0, lambda raw: raw[: len(raw) // 2])),
    told(
        "chunk_longer",
        "more bytes than the chunk has, or harmless in a shard",
        t.content(0, lambda raw: raw + bytes(16)),
    ),
    told(
        "chunk_zeroed",
        "no bytes of a chunk, or another picture than the levels",
        only(z.has_levels, t.content(0, lambda raw: bytes(len(raw)))),
    ),
    told("chunk_empty", "no bytes of a chunk", t.content(0, lambda _: b"")),
    told("chunk_is_text", "no bytes of a chunk", t.content(0, lambda _: b"none of this is a chunk")),
)

ARRAYS = (
    told("narrower", "the levels say another width", only(z.has_levels, z.shape(0, -30, 0))),
    hidden("narrower_alone", "a narrower picture is as good a picture", only(z.has_no_levels, z.shape(0, -30, 0))),
    *(hidden(f"wider_by_{n}", "sizes of levels are rounded alike", z.shape(0, n, 0)) for n in (-1, 1)),
    told("wider_by_a_chunk", "the levels say another width", only(z.has_levels, z.shape(0, 128, 0))),
    hidden("wider_by_a_chunk_alone", "what is not stored is fill", only(z.has_no_levels, z.shape(0, 128, 0))),
    told(
        "shorter_by_a_chunk",
        "chunks are left over, or the levels say another height",
        z.shape(-128, 0, 0),
    ),
    told(
        "sizes_swapped",
        "chunks are left over, or the levels say another shape",
        only(lambda edit: edit.axes().endswith("yx"), z.array(z.swapped_shape, 0)),
    ),
    *(
        told(f"level_{k}_narrower", "its downsample is no number that fits both sides", z.shape(0, -30, k))
        for k in (1, 2)
    ),
    *(told(f"chunks_{by:g}_times_as_wide", "other bytes a chunk than that", z.chunk_sides(by, 0)) for by in (0.5, 2)),
    told("chunks_without_width", "no chunk has no width", z.chunk_sides(0, 0)),
    told("chunks_without_end", "a chunk that is too large", z.chunk_sides(2**20, 0)),
    *(
        told(f"type_{name}", "no 8 bits without a sign", z.set_field("dtype", "data_type", name))
        for name in ("|i1", "uint16", "<u2", "float32", "bool", "")
    ),
    *(
        told(f"codec_{name}", "not what such bytes are, or not known, or it is right", z.codec(name))
        for name in ("none", "gzip", "zstd", "blosc", "lz4", "no-such-codec")
    ),
    told(
        "filters",
        "none is understood",
        z.array(
            lambda content: (
                content.update(filters=[{"id": "delta", "dtype": "|u1"}]) if content["zarr_format"] == 2 else False
            ),
            0,
        ),
    ),
    told(
        "order",
        "the levels show another picture, or harmless",
        only(
            z.has_levels,
            z.array(lambda content: content.update(order="F") if content["zarr_format"] == 2 else False, 0),
        ),
    ),
    told("separator_of_level_0", "no chunk at all is found", z.array(z.separator, 0)),
    told("separator", "no chunk at all is found", z.array(z.separator, 0, 1, 2)),
    *(
        hidden(
            f"fill_{value}",
            "any fill is as good where a chunk is not stored",
            z.set_field("fill_value", "fill_value", value),
        )
        for value in (0, 7, 255)
    ),
    *(
        told(f"fill_{value}", "no sample of 8 bits, or none", z.set_field("fill_value", "fill_value", value))
        for value in (-1, 256, "NaN", None, 0.5)
    ),
    *(told(f"channels_{n}_of_level_0", "the levels have others", z.channels(n, 0)) for n in (1, 2, 4)),
    *(told(f"channels_{n}", "chunks are left over, or none are there", z.channels(n, 0, 1, 2)) for n in (1, 2, 4)),
    told(
        "shard_index_moved",
        "no table of places lies there",
        z.array(lambda content: z.sharding(content, index_location="start"), 0),
    ),
    told(
        "shard_index_unknown",
        "no such table",
        z.array(lambda content: z.sharding(content, index_codecs=[{"name": "zstd"}]), 0),
    ),
    told("axis_too_many", "no array of these axes", z.array(lambda content: content["shape"].append(1), 0, 1, 2)),
)

IMAGES = (
    told("level_0_gone", "harmless if it is smaller and says so", z.array_gone(0)),
    told("level_1_gone", "harmless: the others are there", z.array_gone(1)),
    told("level_dropped", "harmless: the others are there", only(z.has_levels, z.datasets(lambda found: found[:-1]))),
    told(
        "level_0_dropped",
        "harmless if it is smaller and says so",
        only(z.has_levels, z.datasets(lambda found: found[1:])),
    ),
    told("levels_reversed", "harmless: the sizes tell", z.datasets(lambda found: found[::-1])),
    told("level_twice", "harmless: the same level again", z.datasets(lambda found: [found[0], *found])),
    told("levels_none", "no picture", z.datasets(lambda _: [])),
    told("level_1_is_level_0", "as large as level 0", only(z.has_levels, z.path_of(1, "0"))),
    *(
        told(f"path_{name}", "no array lies there", z.path_of(0, path))
        for name, path in (("above", "../0"), ("absolute", "/0"), ("empty", ""), ("other", "x/y"))
    ),
    *(
        told(f"scale_{f:g}_of_level_1", "its size says otherwise", only(z.has_levels, z.scales(f, f, lambda k: k == 1)))
        for f in (0.5, 3)
    ),
    *(
        told(
            f"scale_{f:g}_of_level_0",
            "the sizes of the levels say otherwise",
            only(z.has_levels, z.scales(f, f, lambda k: k == 0)),
        )
        for f in (0.5, 2, 10)
    ),
    told(
        "scales_alike",
        "the sizes of the levels say otherwise",
        only(
            z.has_levels,
            z.datasets(
                lambda found: [
                    {**each, "coordinateTransformations": found[0]["coordinateTransformations"]} for each in found
                ]
            ),
        ),
    ),
    *(
        hidden(f"scale_{f:g}", "a size that scanners make, and nothing else says one", z.scales(f, f))
        for f in (10, 0.2, 2)
    ),
    *(told(f"scale_{f:g}", "no scanner makes that", z.scales(f, f)) for f in (1000, 0.001)),
    *(
        told(f"scale_of_{axis}_alone", "no scanner's px are ten times as long as wide", z.scales(*pair))
        for axis, pair in (("x", (10, 1)), ("y", (1, 10)))
    ),
    *(
        told(f"scale_is_{name}", "no size of use", z.scale_is(value))
        for name, value in (
            ("none", []),
            ("empty", [{"type": "scale", "scale": []}]),
            ("zero", [{"type": "scale", "scale": [0, 0, 0]}]),
            ("below_zero", [{"type": "scale", "scale": [-1, -0.5, -0.5]}]),
            ("one", [{"type": "scale", "scale": [0.5]}]),
            ("nan", [{"type": "scale", "scale": [float("nan")] * 3}]),
            ("a_file", [{"type": "scale", "path": "scale"}]),
            ("affine", [{"type": "affine", "affine": []}]),
            ("text", [{"type": "scale", "scale": "0.5"}]),
        )
    ),
    *(
        told(f"unit_{name}", "no scanner makes that, or no length, or it is right", z.unit(name))
        for name in ("meter", "centimeter", "picometer", "parsec", "pixel", "furlong", "", None)
    ),
    *(
        told(f"unit_{name}", "no scanner makes that, or it is right", z.unit(name))
        for name in ("nanometer", "millimeter", "micrometer")
    ),
    told("level_translated", "it shows another place than level 0", only(z.has_levels, z.datasets(z.translated))),
    *(
        told(f"axes_{names}", "other axes than the array has, or said", z.renamed(names))
        for names in ("cxy", "xyc", "zyx", "tyx", "ccx", "abc", "tczxy", "ctzyx", "xy")
    ),
    told("axes_too_few", "no array of these axes", z.axes(lambda found: found[1:])),
    told("axes_none", "no version that is understood", z.axes(lambda _: [])),
    told("axes_of_0_3", "no version that is understood", z.axes(lambda found: [each["name"] for each in found])),
    *(
        told(f"version_{value}", "no version that is understood, or none is said", z.version(value))
        for value in ("0.1", "0.3", "0.6-dev", "5", None)
    ),
    told("dyes", "names of channels: fluorescence", z.ome(z.dyed)),
    told("multiscales_none", "no picture", z.ome(lambda said: said.update(multiscales=[]))),
    told("plate", "no slide", only(lambda edit: not edit.image, z.ome(lambda said: said.update(plate={"wells": []})))),
)

FILES = (
    told("cut_off", "no directory of a zip", z.as_written(lambda raw: raw[:-30])),
    told("cut_in_half", "no directory of a zip", z.as_written(lambda raw: raw[: len(raw) // 2])),
    told(
        "byte_changed",
        "a checksum says it",
        z.as_written(lambda raw: raw[: len(raw) // 3] + bytes([raw[len(raw) // 3] ^ 1]) + raw[len(raw) // 3 + 1 :]),
    ),
    told("json_cut", "no JSON", z.text(lambda raw: raw[: len(raw) // 2])),
    told("json_empty", "no JSON", z.text(lambda _: b"")),
    told("json_deep", "no JSON that anybody writes", z.text(lambda _: b"[" * 100_000)),
    told("json_list", "no metadata", z.text(lambda _: b"[]")),
    told("json_of_array_cut", "no JSON", z.text(lambda raw: raw[: len(raw) // 2], of_array=True)),
    told(
        "array_of_another_version",
        "no such version",
        z.text(
            lambda raw: raw.replace(b'"zarr_format": 3', b'"zarr_format": 4').replace(
                b'"zarr_format": 2', b'"zarr_format": 1'
            ),
            of_array=True,
        ),
    ),
    told("array_is_group", "no array", z.text(lambda raw: raw.replace(b'"array"', b'"group"'), of_array=True)),
)

ZARR_KINDS: tuple[Kind, ...] = (*CHUNKS, *ARRAYS, *IMAGES, *FILES)
