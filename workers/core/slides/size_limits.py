"""How large the parts of a slide may be, whatever its format: said before a pixel of it is decoded."""

from workers.core.errors.base import SlideTooLarge

MAX_SIDE = 2**24
"""Level-0 px of one side of a slide."""

MAX_TILE_SIDE = 8192
MAX_CHUNKS = 2**23
"""Tiles, strips or frames of one level."""

MAX_SAMPLES = 64
MAX_SAMPLE_BITS = 64
MAX_CHUNK_BYTES = 2**28
"""Of a tile or a strip, decoded: the largest tile as RGBA."""


def check_tile(owner: str, width: int, height: int) -> None:
    """Refuse a tile of too many px on a side.

    Args:
        owner: What it is a tile of, for the sentence.
        width: Px.
        height: Px.

    Raises:
        SlideTooLarge.
    """
    if max(width, height) > MAX_TILE_SIDE:
        accepted = f"at most {MAX_TILE_SIDE} x {MAX_TILE_SIDE}"
        raise SlideTooLarge(f"A tile of this {owner} is too large.", value=f"{width} x {height}", accepted=accepted)


def check_pixels(owner: str, pixels: int, samples: int, bits: int) -> None:
    """Refuse what is decoded as a whole and has too many samples, bits, or bytes in all.

    Args:
        owner: What it is a part of, for the sentence.
        pixels: Of a tile or a strip.
        samples: Of a pixel.
        bits: Of a sample.

    Raises:
        SlideTooLarge.
    """
    if samples > MAX_SAMPLES or bits > MAX_SAMPLE_BITS:
        raise SlideTooLarge(
            f"A pixel of this {owner} is too large.",
            value=f"{samples} samples of {bits} bits",
            accepted=f"at most {MAX_SAMPLES} samples of {MAX_SAMPLE_BITS} bits",
        )
    if pixels * samples * bits > MAX_CHUNK_BYTES * 8:
        raise SlideTooLarge(
            f"A tile or a strip of this {owner} is too large.",
            value=f"{pixels} pixels of {samples} samples of {bits} bits",
            accepted=f"at most {MAX_CHUNK_BYTES} bytes",
        )


def check_count(owner: str, count: int) -> None:
    """Refuse too many tiles.

    Raises:
        SlideTooLarge.
    """
    if count > MAX_CHUNKS:
        raise SlideTooLarge(f"This {owner} holds too many tiles.", value=count, accepted=f"at most {MAX_CHUNKS}")
