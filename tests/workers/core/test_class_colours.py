"""One table of colours: an index has the colour that its class says, in every form of it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import ImageColor

from workers.core.class_colours import color_table, hex_color
from workers.core.model.schemas import ModelClass

colors = st.tuples(*(st.integers(0, 255),) * 3)


@given(st.dictionaries(st.integers(0, 254), colors))
def test_an_index_has_the_colour_of_its_class_and_others_are_black(chosen: dict[int, tuple[int, int, int]]) -> None:
    table = color_table([ModelClass(index=index, name="c", color=color) for index, color in chosen.items()])
    assert table.shape == (256, 3)
    assert table.dtype == np.uint8
    assert [tuple(row) for row in table.tolist()] == [chosen.get(index, (0, 0, 0)) for index in range(256)]


@given(colors)
def test_pillow_reads_the_text_of_a_colour(color: tuple[int, int, int]) -> None:
    assert ImageColor.getrgb(hex_color(color)) == color
    assert hex_color(list(color)) == hex_color(color)
