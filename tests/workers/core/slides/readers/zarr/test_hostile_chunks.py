"""Chunks and arrays of an OME-Zarr that lie: refused before anything large is made of them."""

import gzip
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
from small_zarr import SIDE, change, read_all, takes_at_most, write

from benchmarks.format_zarr import CODECS_2, CODECS_3, zipped
from workers.core.errors.base import SlideTooLarge, SlideUnreadable
from workers.core.slides.readers.registry import open_slide
from workers.core.slides.readers.zarr import array
from workers.core.slides.readers.zarr.codecs import decoded

BOMB_BYTES = 2**26

BOMBS: dict[str, Callable[[Any], Any]] = {
    "blosc": numcodecs.Blosc().encode,
    "zstd": numcodecs.Zstd().encode,
    "gzip": lambda zeros: gzip.compress(bytes(zeros), 1),
    "zlib": lambda zeros: zlib.compress(bytes(zeros), 1),
}


@pytest.fixture(scope="module")
def bombs() -> dict[str, bytes]:
    return {name: bytes(pack(np.zeros(BOMB_BYTES, np.uint8))) for name, pack in BOMBS.items()}


KNOWN = [
    (version, codec) for version, known in (("0.4", CODECS_2), ("0.5", CODECS_3)) for codec in BOMBS.keys() & known
]


@pytest.mark.parametrize(("version", "codec"), sorted(KNOWN))
def test_a_chunk_that_becomes_more_than_it_has_is_refused_without_being_made(
    tmp_path: Path, bombs: dict[str, bytes], version: str, codec: str
) -> None:
    compressors = (CODECS_2 if version == "0.4" else CODECS_3)[codec]
    folder = write(tmp_path, version, compressors=compressors)
    chunk = folder / ("0/0/1/1" if version == "0.4" else "0/c/0/1/1")
    chunk.write_bytes(bombs[codec])
    path = zipped(folder, tmp_path / "a.zip")
    for each in (folder, path):
        with open_slide(each) as slide:
            sentence = r"tile of level 0 at \(64, 64\) cannot be decoded"
            with takes_at_most(2**20), pytest.raises(SlideUnreadable, match=sentence):
                slide.read_level(0, 64, 64, 8, 8)
            assert slide.read_level(0, 0, 0, 8, 8).shape == (8, 8, 3)


@pytest.mark.parametrize("codec", BOMBS)
def test_a_decoder_stops_where_the_chunk_ends(bombs: dict[str, bytes], codec: str) -> None:
    """Also where the packed bytes are few enough to be read."""
    with takes_at_most(2**18 + len(bombs[codec])), pytest.raises((ValueError, RuntimeError)):
        decoded(bombs[codec], [codec], 4096)


def test_an_entry_of_the_zip_that_becomes_more_than_it_says_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, compressors=())
    path = tmp_path / "a.zip"
    with (
        zipfile.ZipFile(zipped(folder, path), "a", zipfile.ZIP_DEFLATED) as archive,
        pytest.warns(match="Duplicate name"),
    ):
        archive.writestr("0/c/0/1/1", bytes(BOMB_BYTES))
    raw = bytearray(path.read_bytes())
    at = raw.rindex(b"PK\1\2")
    assert int.from_bytes(raw[at + 24 : at + 28], "little") == BOMB_BYTES
    with open_slide(path) as slide, pytest.raises(SlideUnreadable):  # it says so
        slide.read_level(0, 64, 64, 8, 8)
    raw[at + 24 : at + 28] = (3 * SIDE * SIDE).to_bytes(4, "little")
    path.write_bytes(raw)
    with open_slide(path) as slide, takes_at_most(2**20), pytest.raises(SlideUnreadable):
        slide.read_level(0, 64, 64, 8, 8)


BLOSC_LIES: dict[str, Callable[[bytes], bytes]] = {
    "another size": lambda raw: raw[:4] + (2**20).to_bytes(4, "little") + raw[8:],
    "more packed bytes": lambda raw: raw[:12] + (len(raw) + 64).to_bytes(4, "little") + raw[16:],
    "cut": lambda raw: raw[:-1],
    "no header": lambda raw: raw[:15],
    "a tail": lambda raw: raw + b"\0",
    "nothing": lambda raw: bytes(len(raw)),
}


@pytest.mark.parametrize("lie", BLOSC_LIES)
def test_blosc_is_not_asked_for_more_bytes_than_there_are(lie: str) -> None:
    samples = np.random.default_rng(0).integers(0, 255, 4096, np.uint8)
    raw = bytes(numcodecs.Blosc().encode(samples))
    assert decoded(raw, ["blosc"], 4096) == samples.tobytes()
    with pytest.raises((ValueError, RuntimeError)):
        decoded(BLOSC_LIES[lie](raw), ["blosc"], 4096)


# --- arrays -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chunks", "shape", "sentence"),
    [
        ([1, 8193, 8], [3, 9000, 9000], "A tile of this OME-Zarr is too large"),
        ([1, 8, 10**9], [3, 9000, 9000], "A tile or a strip of this OME-Zarr is too large"),
        ([5, 8192, 8192], [3, 9000, 9000], "A tile or a strip of this OME-Zarr is too large"),
        ([1, 8, 8], [3, 2**20, 2**20], "holds too many tiles"),
        ([1, 8, 8], [300, 64, 64], "too many channels"),
    ],
)
def test_shapes_past_the_limits_are_refused_before_a_chunk_is_read(
    tmp_path: Path, chunks: list[int], shape: list[int], sentence: str
) -> None:
    folder = write(tmp_path, "0.4")
    change(folder / "0" / ".zarray", lambda said: said.update(chunks=chunks, shape=shape))
    with pytest.raises(SlideTooLarge, match=sentence):
        open_slide(folder)


@pytest.mark.parametrize(
    ("fields", "what", "value"),
    [
        ({"dtype": "<u2"}, "bit depth", "<u2"),
        ({"dtype": "|i1"}, "bit depth", "|i1"),
        ({"dtype": [["a", "|u1"]]}, "bit depth", "[['a', '|u1']]"),
        ({"compressor": {"id": "lz4"}}, "codec", "lz4"),
        ({"compressor": {"id": "bytes"}}, "codec", "bytes"),
        ({"compressor": {"level": 1}}, "codec", "None"),
        ({"filters": [{"id": "delta"}]}, "codec", "delta"),
        ({"fill_value": 256}, "fill value", "'256'"),
        ({"fill_value": True}, "fill value", "'True'"),
        ({"fill_value": "AA=="}, "fill value", "'AA=='"),
    ],
)
def test_what_is_not_understood_of_version_2_is_refused_by_name(
    tmp_path: Path, fields: dict[str, Any], what: str, value: str
) -> None:
    folder = write(tmp_path, "0.4")
    change(folder / "0" / ".zarray", lambda said: said.update(fields))
    with pytest.raises(SlideUnreadable, match=f"The {what} of this OME-Zarr is not understood") as refused:
        open_slide(folder)
    assert refused.value.value == value
    assert refused.value.accepted


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"data_type": "uint16"}, "bit depth"),
        ({"data_type": {"name": "numpy.datetime64"}}, "bit depth"),
        ({"codecs": [{"name": "bytes"}, {"name": "lz4"}]}, "codec"),
        ({"codecs": [{"name": "transpose", "configuration": {"order": [2, 1, 0]}}, "bytes"]}, "codec"),
        ({"codecs": []}, "codec"),
        ({"codecs": ["zstd"]}, "codec"),
        ({"codecs": ["bytes", "bytes"]}, "codec"),
        ({"chunk_grid": {"name": "rectangular", "configuration": {}}}, "chunks"),
        ({"chunk_key_encoding": {"name": "fanout"}}, "chunks"),
        ({"storage_transformers": [{"name": "x"}]}, "chunks"),
    ],
)
def test_what_is_not_understood_of_version_3_is_refused_by_name(
    tmp_path: Path, fields: dict[str, Any], what: str
) -> None:
    folder = write(tmp_path)
    change(folder / "0" / "zarr.json", lambda said: said.update(fields))
    with pytest.raises(SlideUnreadable, match=f"The {what} of this OME-Zarr (is|are) not understood"):
        open_slide(folder)


SHARDS: list[tuple[dict[str, Any], str]] = [
    ({"codecs": [{"name": "bytes"}, {"name": "lz4"}]}, "codec"),
    ({"codecs": [{"name": "sharding_indexed"}]}, "codec"),
    ({"index_codecs": [{"name": "bytes"}, {"name": "zstd"}]}, "shards"),
    ({"index_codecs": [{"name": "bytes", "configuration": {"endian": "big"}}]}, "shards"),
    ({"index_codecs": []}, "shards"),
    ({"index_location": "middle"}, "make no sense"),
    ({"chunk_shape": [3, 50, 64]}, "do not agree"),
    ({"chunk_shape": [3, 64]}, "do not agree"),
    ({"chunk_shape": [3, 1, 1]}, "cannot be decoded"),
]


@pytest.mark.parametrize(("fields", "sentence"), SHARDS)
def test_shards_that_are_not_understood_are_refused(tmp_path: Path, fields: dict[str, Any], sentence: str) -> None:
    folder = write(tmp_path, shards=(3, 2 * SIDE, 2 * SIDE))
    change(folder / "0" / "zarr.json", lambda said: said["codecs"][0]["configuration"].update(fields))
    with pytest.raises(SlideUnreadable, match=sentence):
        read_all(folder)


def test_shards_of_too_many_chunks_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path, shards=(3, 2 * SIDE, 2 * SIDE))
    read_all(folder)
    monkeypatch.setattr(array, "MAX_IN_SHARD", 3)
    with pytest.raises(SlideUnreadable, match="too many chunks"):
        open_slide(folder)


@pytest.mark.parametrize("place", [(0, 2**63), (2**64 - 2, 100), (0, 2**40), (10**6, 100), (2**64 - 1, 1)])
def test_a_shard_whose_table_leads_elsewhere_is_refused(tmp_path: Path, place: tuple[int, int]) -> None:
    folder = write(tmp_path, shards=(3, 2 * SIDE, 2 * SIDE))

    def without_checksum(said: Any) -> None:
        said["codecs"][0]["configuration"]["index_codecs"] = [{"name": "bytes"}]

    change(folder / "0" / "zarr.json", without_checksum)
    for shard in (folder / "0" / "c" / "0").rglob("0"):
        if shard.is_file():
            table = np.array([place, *[(2**64 - 1, 2**64 - 1)] * 3], "<u8").tobytes()
            shard.write_bytes(shard.read_bytes()[:-68] + table)
    for path in (folder, zipped(folder, tmp_path / "a.zip")):
        with open_slide(path) as slide:
            assert slide.read_level(0, 70, 70, 4, 4).max() == 0  # not stored, by the table
            with pytest.raises(SlideUnreadable, match="cannot be decoded"):
                slide.read_level(0, 0, 0, 4, 4)


def test_a_table_of_a_shard_that_does_not_have_its_checksum_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, shards=(3, 2 * SIDE, 2 * SIDE))
    shard = next(path for path in (folder / "0" / "c").rglob("*") if path.is_file())
    raw = shard.read_bytes()
    shard.write_bytes(raw[:-10] + bytes([raw[-10] ^ 1]) + raw[-9:])
    with pytest.raises(SlideUnreadable, match="cannot be decoded"):
        read_all(folder)


def test_shards_that_are_packed_once_more_in_the_zip_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, shards=(3, 2 * SIDE, 2 * SIDE))
    read_all(zipped(folder, tmp_path / "stored.zip"))
    with pytest.raises(SlideUnreadable, match="cannot be decoded"):
        read_all(zipped(folder, tmp_path / "packed.zip", packed=True))
