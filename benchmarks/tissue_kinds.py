"""The kinds of thumbnails of `benchmarks.tissue`.

`GROUP_A` was looked at while the method was made; `group_b` draws its kinds from a seed, over wide ranges.
"""

from dataclasses import dataclass

import numpy as np

Colour = tuple[int, int, int]

SOURCES = {
    "breast": ("tnbc/train/images", 0.25),
    "colon": ("glas/train/images", 0.62),
    "colon2": ("consep/train/images", 0.25),
    "purple": ("dsb2018_stained/train/images", 0.25),
    "organs": ("monuseg_external/images", 0.25),
    "ovary": ("histolytics_hgsc", 0.5),
}
"""Folder of the images and their µm per px."""


@dataclass(frozen=True)
class Kind:
    """What a thumbnail shows.

    Args:
        name: For the table.
        tissue: One of "he", "fat", "mucin", "ihc", "biopsy", "section".
        glass: RGB of the glass.
        source: Key of `SOURCES`.
        pieces: Pieces of tissue on each scanned area.
        around: RGB of what lies around the scanned areas; None: all is scanned.
        areas: Scanned areas, side by side.
        around_noise: Standard deviation of the noise there.
        noise: Standard deviation of the noise of the glass.
        vignette: How much darker the corners are, as a share.
        dirt: Whether there are dust and the edge of a coverslip.
    """

    name: str
    tissue: str = "he"
    glass: Colour = (243, 243, 244)
    source: str = "colon"
    pieces: int = 1
    around: Colour | None = None
    areas: int = 1
    around_noise: float = 0
    noise: float = 1.5
    vignette: float = 0
    dirt: bool = False


CREAM, CANVAS, GREY, BLACK = (248, 238, 216), (252, 252, 252), (214, 214, 216), (0, 0, 0)

GROUP_A = (
    Kind("plain"),
    Kind("white glass", source="breast", glass=(253, 253, 253), pieces=3),
    Kind("cream glass", source="organs", glass=CREAM, pieces=2),
    Kind("cream glass, white canvas", glass=CREAM, around=CANVAS),
    Kind("cream glass, white canvas, areas", source="breast", glass=CREAM, around=(255, 255, 255), areas=3, dirt=True),
    Kind("grey glass", source="ovary", glass=GREY, dirt=True),
    Kind("dark grey glass, vignette", glass=(202, 203, 202), vignette=0.08),
    Kind("blue-grey glass", source="purple", glass=(222, 228, 235), pieces=4),
    Kind("black around", source="organs", around=BLACK, pieces=2),
    Kind("dark grey around, noise", around=(30, 30, 30), around_noise=6, areas=2),
    Kind("grey around, noise", source="colon2", around=(55, 56, 58), around_noise=4, areas=3),
    Kind("cream glass, black around", source="breast", glass=CREAM, around=(8, 8, 10), around_noise=3),
    Kind("fat", "fat", pieces=2),
    Kind("fat on grey glass", "fat", glass=GREY),
    Kind("mucin", "mucin"),
    Kind("mucin on cream glass", "mucin", glass=CREAM, around=CANVAS),
    Kind("faint IHC", "ihc", source="organs", glass=(246, 246, 247), pieces=2),
    Kind("faint IHC, black around", "ihc", source="breast", around=BLACK, dirt=True),
    Kind("biopsies", "biopsy", pieces=6),
    Kind("biopsies, black around", "biopsy", source="breast", pieces=5, around=(20, 20, 20), around_noise=2),
    Kind("section", "section"),
    Kind("section on cream glass", "section", glass=CREAM, around=CANVAS),
    Kind("section, black around", "section", around=BLACK),
    Kind("vignette and dirt", source="ovary", vignette=0.07, dirt=True, pieces=2),
)


def group_b(count: int, seed: int) -> tuple[Kind, ...]:
    """Draw kinds over wide ranges of glass, surroundings, noise and tissue."""
    rng = np.random.default_rng(seed)
    kinds = []
    for index in range(count):
        light = rng.integers(200, 254)
        tint = rng.choice([(0, 0, 0), (0, 4, 14), (0, 10, 32), (10, 4, 0), (8, 0, 6), (4, 0, 10)])
        glass = tuple(int(v) for v in np.clip(light - tint, 0, 255))
        dark, grey = int(rng.integers(0, 61)), int(rng.integers(250, 256))
        around = [None, (dark, dark, dark), (grey, grey, grey)][index % 3]
        tissue = ("he", "he", "fat", "mucin", "ihc", "biopsy", "section")[int(rng.integers(0, 7))]
        kinds.append(
            Kind(
                f"{tissue} on {glass}, around {around[0] if around else '-'}",
                tissue,
                (glass[0], glass[1], glass[2]),
                list(SOURCES)[int(rng.integers(0, len(SOURCES)))],
                int(rng.integers(1, 5)),
                around,
                int(rng.integers(1, 4)),
                float(rng.uniform(0, 7)) if around and around[0] < 100 else 0.0,
                float(rng.uniform(0.5, 3)),
                float(rng.choice([0, 0, 0.04, 0.08])),
                bool(rng.integers(0, 2)),
            )
        )
    return tuple(kinds)
