"""How the bytes of a chunk become samples, and never more of them than the chunk has.

A packed chunk says itself how large it is, or says nothing: a few kilobytes may become gigabytes. So every step here
is told how many bytes may come out, and the last one has to give just as many.
"""

import struct
import zlib
from collections.abc import Callable, Sequence

import google_crc32c
import imagecodecs

from workers.core.errors.base import SlideUnreadable

Spec = tuple[str, dict[str, object]]
"""A codec by its name, and its configuration."""

BYTES, SHARDING, CRC32C = "bytes", "sharding_indexed", "crc32c"
_BLOSC_HEADER = struct.Struct("<4xIII")
_CRC_BYTES = 4


def _blosc(data: bytes, most: int) -> bytes:
    if len(data) < 16:
        raise ValueError("no header of blosc")
    size, _, packed = _BLOSC_HEADER.unpack_from(data)
    if packed != len(data) or not 0 < size <= most:  # its decoder reads as many bytes as it says
        raise ValueError(f"blosc says {packed} bytes become {size}")
    return bytes(imagecodecs.blosc_decode(data, out=size))


def _zstd(data: bytes, most: int) -> bytes:
    return bytes(imagecodecs.zstd_decode(data, out=most))


def _inflate(wbits: int) -> Callable[[bytes, int], bytes]:
    def decode(data: bytes, most: int) -> bytes:
        decoder = zlib.decompressobj(wbits)
        found = decoder.decompress(data, most)
        if decoder.unconsumed_tail or decoder.unused_data or not decoder.eof:
            raise ValueError("more bytes than the chunk has, or fewer")
        return found

    return decode


def _crc32c(data: bytes, _: int) -> bytes:
    body, said = data[:-_CRC_BYTES], data[-_CRC_BYTES:]
    if len(said) != _CRC_BYTES or google_crc32c.value(body) != int.from_bytes(said, "little"):
        raise ValueError("the chunk does not have its checksum")
    return body


_DECODERS: dict[str, Callable[[bytes, int], bytes]] = {
    "blosc": _blosc,
    "zstd": _zstd,
    "gzip": _inflate(zlib.MAX_WBITS + 16),
    "zlib": _inflate(zlib.MAX_WBITS),
    CRC32C: _crc32c,
}
ACCEPTED = f"none, {', '.join(_DECODERS)}, {SHARDING}"
"""For sentences."""


def packers(codecs: Sequence[Spec]) -> tuple[str, ...]:
    """Return the names of the codecs that pack a chunk, behind the one that makes bytes of its samples.

    Raises:
        SlideUnreadable: One of them is not understood.
    """
    names = [name for name, _ in codecs]
    known = [*(name == BYTES for name in names[:1]), *(name in _DECODERS for name in names[1:])]
    if not known or not all(known):
        unknown = next((name for name, is_known in zip(names, known, strict=True) if not is_known), "none of bytes")
        raise SlideUnreadable("The codec of this OME-Zarr is not understood.", value=unknown[:100], accepted=ACCEPTED)
    return tuple(names[1:])


def most_packed(size: int) -> int:
    """Return how many bytes a chunk of this size may have when packed: noise gets a little longer."""
    return size + size // 8 + 4096


def decoded(data: bytes, names: Sequence[str], size: int) -> bytes:
    """Return the samples of a chunk.

    Args:
        data: As stored.
        names: Of its codecs, see `packers`; undone from the last to the first.
        size: Bytes it has to become.

    Raises:
        ValueError, RuntimeError, zlib.error: It is damaged, or becomes another number of bytes.
    """
    for left, name in zip(range(len(names) - 1, -1, -1), reversed(names), strict=True):
        data = _DECODERS[name](data, size + 1 if left == 0 else most_packed(size))
    if len(data) != size:
        raise ValueError(f"a chunk of {len(data)} bytes instead of {size}")
    return data
