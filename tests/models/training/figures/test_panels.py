"""Panels: what is marked, in which colours, and where a scale bar stands."""

import math
from pathlib import Path

import numpy as np
import pytest
from disc_data import disc_image

from models.folder import ModelClass
from models.training.crops.data import Sample
from models.training.figures import panels


def test_errors_are_painted_by_kind() -> None:
    colors = ((255, 255, 255), (0, 100, 200), (200, 0, 0))
    reference = np.array([[0, 0, 1, 1, 1, 255]], np.uint8)
    predicted = np.array([[0, 1, 0, 1, 2, 1]], np.uint8)
    painted = [tuple(int(v) for v in pixel) for pixel in panels.mark_errors(reference, predicted, colors)[0]]
    extra, missed, confused = panels.error_colors(colors)
    assert painted == [colors[0], extra, missed, colors[1], confused, panels.UNKNOWN]


@pytest.mark.parametrize("taken", [(), ((213, 94, 0),), ((0, 0, 0), (240, 0, 200), (230, 60, 0))])
def test_colours_of_errors_are_no_class_colours(taken: tuple[tuple[int, int, int], ...]) -> None:
    colors = [(255, 255, 255), *taken, *panels.error_colors(((255, 255, 255), *taken))]
    assert all(math.dist(a, b) >= 100 for i, a in enumerate(colors) for b in colors[:i])


@pytest.mark.parametrize(("length", "round_one"), [(20.0, 20.0), (19.9, 10.0), (64.0, 50.0), (0.3, 0.2), (5.0, 5.0)])
def test_scale_bars_are_round(length: float, round_one: float) -> None:
    assert panels.round_length(length) == pytest.approx(round_one)


@pytest.mark.parametrize("scaled", [True, False])
def test_a_scale_bar_stands_where_the_scale_is_known(tmp_path: Path, scaled: bool) -> None:
    one = Sample("one", *disc_image(0, 50), 0.5)
    classes = [ModelClass(index=index, name=str(index), color=(index * 90, 0, 0)) for index in range(2)]
    drawn = panels.collect([one], {"net": [np.zeros_like(one.labels)]}, classes, tmp_path, scaled=scaled)
    texts = [text.get_text() for axis in panels.draw(drawn, tmp_path).axes for text in axis.texts]
    assert any(text.endswith("µm") for text in texts) == scaled
