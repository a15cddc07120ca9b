"""What a job left out because the slide could not be read there: noted per task, so that each may run again."""

from pathlib import Path

from workers.core.frozen import Frozen
from workers.core.schemas import BadTile
from workers.core.slides.slide import Slide
from workers.core.slides.tolerant import TolerantSlide, bad_tile
from workers.core.storage.files import write_json
from workers.pipeline.tiling import Box

FOLDER = "bad-tiles"


class BadTiles(Frozen):
    """Blocks of the slide, and what they cost of the working plane as (w_x, w_y, width, height)."""

    tiles: tuple[BadTile, ...] = ()
    w_holes: tuple[tuple[int, int, int, int], ...] = ()

    @property
    def holes(self) -> tuple[Box, ...]:
        """The boxes of the working plane that have no answer."""
        return tuple(Box(*hole) for hole in self.w_holes)


def note(out_dir: Path, task: str, slide: Slide, holes: tuple[Box, ...] = ()) -> None:
    """Write down what a task could not read, before its result counts as there; it replaces what an earlier try noted.

    Args:
        out_dir: Folder of the job.
        task: Name of the task within the job.
        slide: What was read.
        holes: What was left out of the working plane.
    """
    if not isinstance(slide, TolerantSlide) or not slide.bad:
        (out_dir / FOLDER / f"{task}.json").unlink(missing_ok=True)
        return
    (out_dir / FOLDER).mkdir(exist_ok=True)
    tiles = tuple(bad_tile(slide, *block) for block in sorted(slide.bad))
    found = BadTiles(tiles=tiles, w_holes=tuple(sorted({(h.w_x, h.w_y, h.width, h.height) for h in holes})))
    write_json(out_dir / FOLDER / f"{task}.json", found)


def read_bad_tiles(out_dir: Path) -> BadTiles:
    """Return all that the tasks of a job wrote down, each block and hole once."""
    tiles: set[BadTile] = set()
    holes: set[tuple[int, int, int, int]] = set()
    for path in (out_dir / FOLDER).glob("*.json"):
        found = BadTiles.model_validate_json(path.read_bytes())
        tiles.update(found.tiles)
        holes.update(found.w_holes)
    in_order = sorted(tiles, key=lambda tile: (tile.level, tile.l0_y, tile.l0_x))
    return BadTiles(tiles=tuple(in_order), w_holes=tuple(sorted(holes)))
