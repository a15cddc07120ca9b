"""How long a region or an output may take: as long as its size needs, many times over, and not a whole time limit.

What stands still longer hangs; its worker ends itself, and the task is tried again.
"""

LEAST_S = 300.0
TIMES = 20
"""A region may take so many times what the slowest one of late took for each of its tiles."""

PIXELS_PER_S = 500_000
"""Far slower than any output is made."""


def region_s(region_px: int, tile_px: int, slowest_s_per_tile: float | None, most_s: float) -> float:
    """Return the seconds that a region may take; `most_s` where nothing has been measured yet."""
    if slowest_s_per_tile is None:
        return most_s
    tiles = max(1, -(-region_px // tile_px)) ** 2
    return min(most_s, max(LEAST_S, TIMES * slowest_s_per_tile * tiles))


def output_s(w_width: int, w_height: int, most_s: float) -> float:
    """Return the seconds that one output of a plane of so many working px may take."""
    return min(most_s, LEAST_S + w_width * w_height / PIXELS_PER_S)
