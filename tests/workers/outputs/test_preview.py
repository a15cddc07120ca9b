"""The picture: colours where the labels are, the crop at the right place, lengths that are what they say."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from workers.core.schemas import Plan
from workers.core.slides.readers.registry import open_slide
from workers.outputs import drawing, lettering, preview, statistics
from workers.pipeline import stitch
from workers.pipeline.plane import PlaneReader
from workers.pipeline.stitch import LabelArrays
from workers.pipeline.tiling import WorkingPlane

UInt8 = NDArray[np.uint8]
MakePlan = Callable[..., Plan]
RED, GREEN, BLUE = (200, 30, 60), (20, 130, 60), (0, 90, 220)


def picture_of(path: Path) -> UInt8:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def whereabouts(picture: UInt8, color: tuple[int, int, int]) -> NDArray[np.intp]:
    return np.argwhere((picture == color).all(axis=2))


@pytest.fixture
def drawn(
    make_plan: MakePlan, watched: Callable[..., Any], made_slide: Callable[..., Path], tmp_path: Path
) -> Callable[..., tuple[UInt8, Plan]]:
    """Return a function that draws the preview of a grey slide with these labels, at 0.25 µm per level-0 px."""

    def make(labels: UInt8, **changes: Any) -> tuple[UInt8, Plan]:
        height, width = labels.shape
        grey = np.full((height * 2, width * 2, 3), 180, np.uint8)
        plan = make_plan(width, height, mpp_x=0.25, mpp_y=0.25, **changes)
        arrays = LabelArrays(watched(labels, 256), watched(labels, 256))
        with open_slide(made_slide(grey, mpp=0.25)) as slide:
            counted = statistics.compute(arrays, None, plan)
            preview.write_preview(tmp_path / "preview.png", slide, arrays, plan, counted)
        return picture_of(tmp_path / "preview.png"), plan

    return make


def panel_of(picture: UInt8, width: int, height: int) -> UInt8:
    return picture[preview.TOP : preview.TOP + height, preview.MARGIN : preview.MARGIN + width]


def test_outlines_and_tint_lie_where_the_labels_are(drawn: Callable[..., tuple[UInt8, Plan]]) -> None:
    labels = np.zeros((1000, 1200), np.uint8)
    labels[300:500, 400:700] = 1
    picture, _ = drawn(labels)
    panel = panel_of(picture, 1200, 1000)
    rim = whereabouts(panel, RED)
    assert (rim.min(axis=0).tolist(), rim.max(axis=0).tolist()) == ([300, 400], [499, 699])
    assert len(rim) > 1.5 * (200 + 300)
    tint = np.round(180 + 0.6 * (np.array(RED) - 180))
    assert np.abs(panel[450, 450].astype(int) - tint).max() <= 1
    assert (panel[800, 300] == 180).all()


def test_the_slide_lies_under_its_labels_at_any_scale(
    make_plan: MakePlan, watched: Callable[..., Any], made_slide: Callable[..., Path], tmp_path: Path
) -> None:
    pixels = np.full((2600, 3500, 3), 180, np.uint8)
    pixels[1290:, 1740:] = (90, 100, 110)
    plan = make_plan(2030, 1508, mpp_x=0.29, mpp_y=0.29, l0_width=3500, l0_height=2600)
    labels = np.zeros((1508, 2030), np.uint8)
    arrays = LabelArrays(watched(labels, 256), watched(labels, 256))
    with open_slide(made_slide(pixels, mpp=0.29)) as slide:
        preview.write_preview(tmp_path / "preview.png", slide, arrays, plan)
    panel = panel_of(picture_of(tmp_path / "preview.png"), 1015, 754).astype(int)
    dark = panel.mean(axis=2) < 140
    factor = preview.overview(arrays.labels, plan.classes).factor
    assert factor == 2
    assert abs(dark[600].argmax() - 1740 * 0.29 / 0.5 / factor) <= 1
    assert abs(dark[:600, 800].argmax() - 1290 * 0.29 / 0.5 / factor) <= 1


def test_small_shapes_on_a_large_slide_tint_by_their_share(
    make_plan: MakePlan, watched: Callable[..., Any], made_slide: Callable[..., Path], tmp_path: Path
) -> None:
    labels = np.zeros((1200, 9600), np.uint8)
    labels[:, 4800::2] = 2  # half of the right half, far finer than the panel
    plan = make_plan(9600, 1200, model_mpp=0.5, l0_width=2400, l0_height=300, mpp_x=2.0, mpp_y=2.0)
    arrays = LabelArrays(watched(labels, 512), watched(labels, 512))
    with open_slide(made_slide(np.full((300, 2400, 3), 180, np.uint8), mpp=2.0)) as slide:
        preview.write_preview(tmp_path / "preview.png", slide, arrays, plan)
    panel = panel_of(picture_of(tmp_path / "preview.png"), 1600, 200)
    tint = np.round(180 + 0.6 * 0.5**0.5 * (np.array(GREEN) - 180))
    assert np.abs(panel[100, 1200].astype(int) - tint).max() <= 2
    assert (panel[100, 400] == 180).all()


def test_the_crop_shows_slide_and_outlines_of_the_densest_place(
    make_plan: MakePlan, watched: Callable[..., Any], made_slide: Callable[..., Path], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    pixels = np.repeat(np.repeat(rng.integers(60, 200, (150, 200, 3), dtype=np.uint8), 8, axis=0), 8, axis=1)
    labels = np.zeros((1200, 1600), np.uint8)
    labels[640:900:20, 1010:1260:20] = 1
    labels[650:900:20, 1000:1260:20] = 1
    labels[648:868, 1008:1228] |= (np.indices((220, 220)).sum(axis=0) // 10 % 2).astype(np.uint8)
    plan = make_plan(1600, 1200)
    arrays = LabelArrays(watched(labels, 256), watched(labels, 256))
    with open_slide(made_slide(pixels)) as slide:
        view = preview.overview(arrays.labels, plan.classes)
        w_x, w_y, width, height = preview.densest(view, plan, preview.CROP_PX)
        preview.write_preview(tmp_path / "preview.png", slide, arrays, plan)
        bare = PlaneReader(slide, WorkingPlane.from_plan(plan), 0).read(w_x, w_y, width, height)
    assert (width, height) == (preview.CROP_PX,) * 2
    assert w_x <= 1008
    assert w_x + width >= 1228
    assert w_y <= 648
    assert w_y + height >= 868
    np.testing.assert_array_equal(bare, pixels[w_y : w_y + height, w_x : w_x + width])
    picture = picture_of(tmp_path / "preview.png")
    side = preview.CROP_PX * preview.CROP_ZOOM
    right = picture[:, preview.MARGIN + 1600 + preview.GAP :][:, :side]
    top = preview.TOP + 30 + 40 * len(plan.classes) + 50 + preview.GAP + preview.CAPTION
    crop = right[top : top + side]
    rim = (crop == RED).all(axis=2)
    inside = labels[w_y : w_y + height, w_x : w_x + width].repeat(2, axis=0).repeat(2, axis=1)
    above_bar = slice(0, side - 80)
    np.testing.assert_array_equal(rim[above_bar], drawing.rims(inside, 2)[above_bar])
    shown = crop[above_bar][::2, ::2][~rim[above_bar][::2, ::2]].astype(int)
    wanted = bare[: (side - 80) // 2][~rim[above_bar][::2, ::2]].astype(int)
    assert np.abs(shown - wanted).mean() < 12


def test_the_legend_has_a_swatch_for_each_class(drawn: Callable[..., tuple[UInt8, Plan]]) -> None:
    picture, plan = drawn(np.zeros((700, 900), np.uint8))
    left = preview.MARGIN + 900 + preview.GAP
    legend = picture[preview.TOP : preview.TOP + 240, left : left + 30]
    tops = [whereabouts(legend, color)[:, 0].min() for color in (RED, GREEN, BLUE)]
    assert tops == sorted(tops)
    assert [row.name for row in preview.legend_rows(plan.classes, None)] == [
        "nucleus",
        "stroma",
        "café <µ>",
        "background",
    ]


def test_legend_rows_tell_area_and_share(make_plan: MakePlan, watched: Callable[..., Any]) -> None:
    labels = np.zeros((1000, 2000), np.uint8)
    labels[:, :500] = 1
    plan = make_plan(2000, 1000)
    counted = statistics.compute(LabelArrays(watched(labels, 512), watched(labels, 512)), None, plan)
    cells = {row.name: row.cells for row in preview.legend_rows(plan.classes, counted)}
    assert cells == {
        "nucleus": ("0.125", "25.0%"),
        "stroma": ("0", "0.0%"),
        "café <µ>": ("0", "0.0%"),
        "background": ("0.375", "75.0%"),
    }


@pytest.mark.parametrize("shape", [(1, 1), (3, 700), (2100, 5), (60, 60)], ids=str)
def test_odd_planes_have_a_picture_too(drawn: Callable[..., tuple[UInt8, Plan]], shape: tuple[int, int]) -> None:
    labels = np.ones(shape, np.uint8)
    picture, _ = drawn(labels)
    assert len(whereabouts(picture, RED)) > 0


@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    longest=st.integers(1, 40),
    chunk=st.integers(1, 64),
    band_px=st.integers(1, 4000),
)
def test_the_overview_counts_blocks(
    make_plan: MakePlan,
    watched: Callable[..., Any],
    height: int,
    width: int,
    longest: int,
    chunk: int,
    band_px: int,
) -> None:
    labels = np.random.default_rng(height * 91 + width).choice(np.array([0, 1, 2, 4], np.uint8), (height, width))
    plan = make_plan(width, height)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preview, "BAND_PX", band_px)
        view = preview.overview(watched(labels, chunk), plan.classes, longest)
    rows, columns, _ = view.shares.shape
    assert max(rows, columns) <= longest
    assert rows == max(1, height // view.factor)
    step = max(1, -(-max(height, width) // longest) // preview.SAMPLES)
    for row in range(rows):
        for column in range(columns):
            top, left = row * view.factor, column * view.factor
            block = labels[top : top + view.factor : step, left : left + view.factor : step]
            if (top + view.factor, left + view.factor) <= (height, width) and left + view.factor <= width:
                wanted = [(block == each.index).mean() for each in plan.classes]
                np.testing.assert_allclose(view.shares[row, column], wanted, atol=1e-6)
    np.testing.assert_allclose(view.shares.sum(axis=2), 1, atol=1e-5)


def test_the_overview_reads_each_row_of_chunks_once(
    make_plan: MakePlan, watched: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stitch, "READ_PX", 512)
    monkeypatch.setattr(preview, "BAND_PX", 512 * 4000)
    array = watched(np.zeros((3000, 4000), np.uint8), 512)
    preview.overview(array, make_plan(4000, 3000).classes, 400)
    assert max(max(size) for size in array.reads) <= 512
    assert len(array.reads) <= 2.2 * 8 * 6


def test_shares_of_nothing_leave_the_picture_as_it_is() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    np.testing.assert_array_equal(drawing.tinted(rgb, np.zeros((20, 30, 2), np.float32), [RED, GREEN]), rgb)


def test_a_rim_is_inside_its_area_and_not_along_the_edge_of_the_picture() -> None:
    labels = np.zeros((8, 9), np.uint8)
    labels[2:7, 3:9] = 1
    wanted = labels.astype(bool)
    wanted[3:6, 4:9] = False
    np.testing.assert_array_equal(drawing.rims(labels, 1), wanted)
    wanted[3:6, 4:9] = True
    wanted[4, 5:9] = False
    np.testing.assert_array_equal(drawing.rims(labels, 2), wanted)


@given(room=st.floats(1e-3, 1e7))
def test_lengths_are_round_and_as_long_as_there_is_room(room: float) -> None:
    um = drawing.round_length(room)
    mantissa = Fraction(um).limit_denominator(10**6)
    while mantissa >= 10:
        mantissa /= 10
    while mantissa < 1:
        mantissa *= 10
    assert mantissa in (1, 2, 5)
    assert um <= room * 1.0001
    assert um * 2.5001 >= room


def test_a_scale_bar_is_as_long_as_it_says() -> None:
    image = Image.new("RGB", (1000, 400), (90, 90, 90))
    drawing.add_scale_bar(image, 0.5)
    dark = (np.asarray(image) == drawing.INK).all(axis=2)
    assert dark.sum(axis=1).max() == 200  # the 100 µm that have room in a quarter of 500 µm, at 0.5 µm per px
    assert (drawing.length_text(100), drawing.length_text(2000), drawing.length_text(0.5)) == (
        "100 µm",
        "2 mm",
        "0.5 µm",
    )


def test_every_sign_that_is_written_is_in_the_font() -> None:
    font = lettering.font(20)
    missing = bytes(font.getmask("\ufffe"))
    text = lettering.plain("Ünïcödé – 腫瘍 12 µm² · μ…\n")
    assert text == "Unicode ? ?? 12 µm² · µ… "
    for sign in set(text) - {lettering.MICRO, lettering.SQUARED}:
        assert bytes(font.getmask(sign)) != missing
    assert lettering.width_of("12 µm²", 20) > lettering.width_of("12 µm", 20)


def test_a_long_name_is_shortened_to_its_room() -> None:
    assert lettering.fitted("short", 500, 20) == "short"
    long = lettering.fitted("a class with a name that no legend has room for" * 3, 300, 20)
    assert long.endswith("…")
    assert lettering.width_of(long, 20) <= 300


def test_the_picture_of_a_real_slide_is_the_same_twice(
    cmu_slide: Path, make_plan: MakePlan, watched: Callable[..., Any], tmp_path: Path
) -> None:
    plan = make_plan(2220, 2967, mpp_x=0.5, mpp_y=0.5)
    labels = np.zeros((2967, 2220), np.uint8)
    labels[1000:1100, 1000:1100] = 1
    arrays = LabelArrays(watched(labels, 1024), watched(labels, 1024))
    with open_slide(cmu_slide) as slide:
        for name in ("one.png", "two.png"):
            preview.write_preview(tmp_path / name, slide, arrays, plan)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
