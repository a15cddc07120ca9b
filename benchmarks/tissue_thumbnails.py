"""Thumbnails with known tissue for `benchmarks.tissue`: texture of real sections on glass of many kinds.

A piece of tissue is what it lets through of the light, 0 to 1 a channel, so any glass can lie behind it. One px stands
for 8 µm.
"""

import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage, spatial

from benchmarks.tissue_kinds import SOURCES, Kind
from workers.core.slides.readers.registry import open_slide

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

SIDE = 768
TILE_PX = 24
NEIGHBOURS = 6
"""Texture of a piece is laid in squares of this side, of so many neighbouring ones of a source."""

LIGHT = 245
"""Glass of the sources."""

SECTION = "wsi/crc_P2_0039_sec4_9984x16384"
SECTION_GLASS = 243


class Textures:
    """What tissue lets through, of real images at 8 µm per px.

    Args:
        data: Folder of the data sets.
    """

    def __init__(self, data: Path) -> None:
        self._data = data
        self._squares: dict[str, list[Floats]] = {}

    def field(self, source: str, shape: tuple[int, int], rng: Generator) -> Floats:
        """Return float (height, width, 3) of a source, laid in squares."""
        if source not in self._squares:
            self._squares[source] = list(self._read(*SOURCES[source]))
        every, out = self._squares[source], np.empty((*shape, 3))
        start = int(rng.integers(len(every)))
        squares = (every + every)[start : start + NEIGHBOURS]  # of one image or few: one stain
        for y in range(0, shape[0], TILE_PX):
            for x in range(0, shape[1], TILE_PX):
                square = squares[int(rng.integers(len(squares)))]
                square = np.rot90(square, int(rng.integers(4)))
                out[y : y + TILE_PX, x : x + TILE_PX] = square[: shape[0] - y, : shape[1] - x]
        return out

    def section(self) -> tuple[Floats, Mask]:
        """Return a real section, float (height, width, 3), and where a person saw tissue."""
        with open_slide(self._data / f"{SECTION}.tif") as slide:
            seen = slide.reduced(4, 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # 164 million px of one bit
            image = Image.open(self._data / f"{SECTION}_mask.png")
        with image:
            mask = np.asarray(image.convert("L").resize(seen.shape[1::-1], Image.Resampling.BOX)) >= 128
        return np.clip(seen / SECTION_GLASS, 0, 1), mask

    def _read(self, folder: str, mpp: float) -> list[Floats]:
        files = sorted(path for path in (self._data / folder).iterdir() if path.suffix in {".png", ".jpg"})
        squares = []
        for path in [path for path in files if "_inst" not in path.stem and "_type" not in path.stem][:24]:
            with Image.open(path) as image:
                seen = image.convert("RGB")
            scale = max(8 / mpp * 0.5, 1)
            size = [max(TILE_PX, round(length / scale)) for length in seen.size]
            small = np.asarray(seen.resize((size[0], size[1]), Image.Resampling.BOX)) / LIGHT
            ends = [range(0, length - TILE_PX + 1, TILE_PX) for length in small.shape[:2]]
            squares += [small[y : y + TILE_PX, x : x + TILE_PX].clip(0, 1) for y in ends[0] for x in ends[1]]
        return squares


def thumbnail(kind: Kind, textures: Textures, seed: int) -> tuple[Pixels, Mask]:
    """Return a thumbnail, uint8 (height, width, 3), and its tissue, bool (height, width)."""
    rng = np.random.default_rng(seed)
    if kind.tissue == "section":
        light, truth = textures.section()
        if kind.around:
            light = np.pad(light, ((60, 60), (60, 60), (0, 0)), constant_values=1)
            truth = np.pad(truth, 60)
        boxes = [(30.4, 30.7, light.shape[0] - 30.2, light.shape[1] - 30.6)]
    else:
        light, truth = np.ones((SIDE, SIDE, 3)), np.zeros((SIDE, SIDE), np.bool_)
        boxes = _boxes(kind, rng)
        for box in boxes:
            _lay_pieces(kind, textures, box, light, truth, rng)
    if kind.dirt:
        _soil(light, boxes, rng)
    seen = light * np.array(kind.glass) * _shade(light.shape[:2], kind.vignette)
    seen += rng.normal(0, kind.noise, seen.shape)
    if kind.around:
        inside = _inside(light.shape[:2], boxes)
        seen = seen * inside + (np.array(kind.around) + rng.normal(0, kind.around_noise, seen.shape)) * (1 - inside)
        truth &= inside[..., 0] > 0.5
    return _through_jpeg(seen.clip(0, 255).astype(np.uint8)), truth


def _boxes(kind: Kind, rng: Generator) -> list[tuple[float, float, float, float]]:
    if kind.around is None:
        return [(0, 0, SIDE, SIDE)]
    wide = SIDE / kind.areas
    return [
        (*(rng.uniform(15, 60), index * wide + rng.uniform(8, 20)), SIDE - rng.uniform(15, 60), (index + 1) * wide - 8)
        for index in range(kind.areas)
    ]


def _inside(shape: tuple[int, int], boxes: list[tuple[float, float, float, float]]) -> Floats:
    """Return the share of each px that was scanned."""
    out = np.zeros(shape)
    for top, left, bottom, right in boxes:
        rows, columns = np.arange(shape[0]), np.arange(shape[1])
        down = np.clip(np.minimum(rows + 1, bottom) - np.maximum(rows, top), 0, 1)
        across = np.clip(np.minimum(columns + 1, right) - np.maximum(columns, left), 0, 1)
        out = np.maximum(out, down[:, np.newaxis] * across)
    return out[..., np.newaxis]


def _lay_pieces(
    kind: Kind,
    textures: Textures,
    box: tuple[float, float, float, float],
    light: Floats,
    truth: Mask,
    rng: Generator,
) -> None:
    top, left, bottom, right = box
    for _ in range(kind.pieces):
        reach = min(bottom - top, right - left) / 2
        radius = rng.uniform(3, 9) if kind.tissue == "biopsy" else reach * rng.uniform(0.55, 0.9) / kind.pieces**0.4
        centre = rng.uniform(top + radius / 2, bottom - radius / 2), rng.uniform(left + radius / 2, right - radius / 2)
        shape = _blob(light.shape[:2], centre, radius, rng)
        if kind.tissue != "biopsy" and radius > 40:
            hole = _blob(light.shape[:2], centre, radius * 0.35, rng)  # glass that a person would leave out
            shape &= ~hole if hole.sum() > 1500 else shape
        piece = _piece(kind, textures, shape, rng)
        light[shape] = piece[shape]
        truth |= shape


def _blob(shape: tuple[int, int], centre: tuple[float, float], radius: float, rng: Generator) -> Mask:
    """Return an irregular piece; a third of them are long and narrow."""
    y, x = np.indices(shape)
    turn, stretch = rng.uniform(0, np.pi), rng.choice([1, 1.3, 2.5])
    down, across = y - centre[0], x - centre[1]
    along, beside = down * np.cos(turn) + across * np.sin(turn), across * np.cos(turn) - down * np.sin(turn)
    angle = np.arctan2(beside * stretch, along)
    edge = 1 + sum(rng.normal(0, 0.25 / k) * np.cos(k * angle + rng.uniform(0, 6)) for k in range(2, 9))
    blob: Mask = np.hypot(along / stretch**0.5, beside * stretch**0.5) < radius * np.clip(edge, 0.4, 1.6)
    return blob


def _piece(kind: Kind, textures: Textures, shape: Mask, rng: Generator) -> Floats:
    """Return what the piece lets through, float (height, width, 3)."""
    texture = textures.field(kind.source, (shape.shape[0], shape.shape[1]), rng)
    if kind.tissue == "ihc":
        brown = _smooth(shape.shape, 12, rng)[..., np.newaxis] > 1
        stain = np.where(brown, [0.9, 0.8, 0.68], [0.93, 0.945, 0.965])
        faint: Floats = stain * (1 - 0.16 * (1 - texture))
        return faint
    if kind.tissue not in {"fat", "mucin"}:
        return texture
    part = (_smooth(shape.shape, 40, rng) > -0.3)[..., np.newaxis]
    pale = _fat(shape.shape, texture, rng) if kind.tissue == "fat" else _mucin(shape.shape, rng)
    mixed: Floats = np.where(part, pale, texture)
    return mixed


def _fat(shape: tuple[int, ...], texture: Floats, rng: Generator) -> Floats:
    """Vacuoles of about 80 µm, empty as glass, between walls that are thinner than a px."""
    cells = rng.uniform(0, shape[:2], (shape[0] * shape[1] // 90, 2))
    near, _ = spatial.cKDTree(cells).query(np.argwhere(np.ones(shape[:2])), k=2)
    wall = np.clip(1.4 - (near[:, 1] - near[:, 0]), 0, 1).reshape(shape[0], shape[1], 1) * 0.55
    light: Floats = 1 - wall * (1 - np.minimum(texture, 0.9))
    return light


def _mucin(shape: tuple[int, ...], rng: Generator) -> Floats:
    veil = _smooth(shape, 6, rng)[..., np.newaxis]
    light: Floats = np.array([0.915, 0.905, 0.955]) + veil * np.array([0.02, 0.025, 0.008])
    return light


def _smooth(shape: tuple[int, ...], sigma: float, rng: Generator) -> Floats:
    """Return smooth noise of mean 0 and standard deviation 1."""
    noise: Floats = ndimage.gaussian_filter(rng.normal(0, 1, shape[:2]), sigma)
    noise -= noise.mean()
    noise /= noise.std()
    return noise


def _soil(light: Floats, boxes: list[tuple[float, float, float, float]], rng: Generator) -> None:
    """Dust, of a px each, and the shadow of a coverslip's edge."""
    rows, columns = (rng.integers(0, length, 25) for length in light.shape[:2])
    light[rows, columns] *= rng.uniform(0.4, 0.9, (25, 1))
    at = int(boxes[0][0]) + 4
    light[at, :] *= 0.82


def _shade(shape: tuple[int, ...], vignette: float) -> Floats:
    y, x = np.indices(shape[:2])
    away = (2 * y / shape[0] - 1) ** 2 + (2 * x / shape[1] - 1) ** 2
    light: Floats = (1 - vignette * away / 2)[..., np.newaxis]
    return light


def _through_jpeg(pixels: Pixels) -> Pixels:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    with Image.open(file) as image:
        return np.asarray(image)
