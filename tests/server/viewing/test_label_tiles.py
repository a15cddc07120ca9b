"""Labels on the grid of their slide, whatever the size of its tiles."""

from collections.abc import Callable

import numpy as np
import pytest

from server.viewing.deepzoom import TILE_PX, Grid, grid_of
from server.viewing.label_tiles import Labels, LabelTiles, Level
from workers.core.schemas import Plan
from workers.core.slide_schemas import SlideGeometry

SIDE = 600


class Checkers(LabelTiles):
    """Labels in memory: class 1 where the px of a tile of 240 px have an odd number."""

    def _read(self, level: Level, x0: int, y0: int, x1: int, y1: int) -> Labels:
        columns, rows = np.arange(x0, x1) * level.step // 240, np.arange(y0, y1) * level.step // 240
        return ((columns[None] + rows[:, None]) % 2).astype(np.uint8)


def with_tiles(plan: Plan, width: int | None, height: int | None) -> Plan:
    levels = tuple(
        level.model_copy(update={"tile_width": width, "tile_height": height}) for level in plan.geometry.levels
    )
    return plan.model_copy(update={"geometry": plan.geometry.model_copy(update={"levels": levels})})


def test_a_tile_of_labels_lies_on_the_tile_of_the_slide_with_the_same_address(make_plan: Callable[..., Plan]) -> None:
    plan = with_tiles(make_plan(SIDE, SIDE), 240, 240)
    labels = Checkers(plan, [Level(1, SIDE, SIDE)])
    assert labels.grid == grid_of(plan.geometry) == Grid(SIDE, SIDE, 240)
    for col, row in ((0, 0), (1, 0), (2, 1), (2, 2)):
        tile = labels.tile(labels.grid.top, col, row)
        assert tile.shape == (min(240, SIDE - row * 240), min(240, SIDE - col * 240))
        assert (tile == (col + row) % 2).all()


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [(240, 240, 240), (512, 512, 512), (1024, 1024, 1024), (256, 240, TILE_PX), (128, 128, TILE_PX),
     (4096, 4096, TILE_PX), (2000, 8, TILE_PX), (None, None, TILE_PX)],
)  # fmt: skip
def test_the_grid_is_that_of_the_slides_own_tiles_where_they_suit(
    make_plan: Callable[..., Plan], width: int | None, height: int | None, expected: int
) -> None:
    geometry: SlideGeometry = with_tiles(make_plan(SIDE, SIDE), width, height).geometry
    assert grid_of(geometry).tile_px == expected
