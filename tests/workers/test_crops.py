"""Boxes of slides as background to train on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image

from models.training.crops.data import DatasetConfig, load_dataset
from workers import crops


def listed(folder: Path, box: str, kind: str = "old ink") -> Path:
    path = folder / "boxes.toml"
    path.write_text(f'mpp = 1.0\n[[boxes]]\nslide = "s.tif"\nl0 = {box}\nkind = "{kind}"\n')
    return path


def test_a_box_becomes_an_image_at_the_asked_resolution_and_a_mask_of_background(
    made_slide: Callable[..., Path], stained: NDArray[np.uint8], tmp_path: Path
) -> None:
    slide = made_slide(stained, "s.tif")
    boxes, out = listed(tmp_path, "[40, 20, 240, 140]"), tmp_path / "out"
    result = CliRunner().invoke(crops.main, [str(boxes), "--slides", str(slide.parent), "--out", str(out)])
    assert result.exit_code == 0, result.output
    (found,) = load_dataset(DatasetConfig("out"), tmp_path, 2)
    assert (found.name, found.mpp) == ("old_ink_000", 1.0)
    assert not found.labels.any()
    # 0.5 µm/px to 1.0: Pillow's triangle filter agrees within what JPEG and rounding leave.
    expected = Image.fromarray(stained[20:140, 40:240]).resize((100, 60), Image.Resampling.BILINEAR)
    assert np.abs(found.image.astype(int) - np.asarray(expected))[2:-2, 2:-2].mean() < 6


def test_a_box_with_a_mask_keeps_it_and_one_that_does_not_fit_is_named(
    made_slide: Callable[..., Path], stained: NDArray[np.uint8], tmp_path: Path
) -> None:
    slide = made_slide(stained, "s.tif")
    boxes, out = listed(tmp_path, "[40, 20, 240, 140]"), tmp_path / "out"
    boxes.write_text(boxes.read_text() + 'mask = "m.png"\n')
    arguments = [str(boxes), "--slides", str(slide.parent), "--out", str(out)]
    assert "The mask cannot be read" in CliRunner().invoke(crops.main, arguments).output
    mask = np.random.default_rng(0).choice(np.array([0, 1, 255], np.uint8), (60, 100))
    Image.fromarray(mask[:30]).save(tmp_path / "m.png")
    assert "The mask does not fit its crop" in CliRunner().invoke(crops.main, arguments).output
    Image.fromarray(mask).save(tmp_path / "m.png")
    assert CliRunner().invoke(crops.main, arguments).exit_code == 0
    (found,) = load_dataset(DatasetConfig("out"), tmp_path, 2)
    assert np.array_equal(found.labels, mask)


@pytest.mark.parametrize(
    ("box", "sentence"),
    [
        ("[40, 20, 240]", "Field required|l0"),
        ("[240, 20, 40, 140]", "accepted: x0, y0, x1, y1 with 0 <= x0 < x1"),
        ("[0, 0, 99999, 10]", "The box reaches past the slide"),
        ("[0, 0", "is not TOML"),
    ],
)
def test_a_box_that_is_none_is_named(
    made_slide: Callable[..., Path], stained: NDArray[np.uint8], tmp_path: Path, box: str, sentence: str
) -> None:
    slide = made_slide(stained, "s.tif")
    arguments = [str(listed(tmp_path, box)), "--slides", str(slide.parent), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(crops.main, arguments)
    assert result.exit_code == 2
    assert any(part in result.output for part in sentence.split("|")), result.output


def test_the_shipped_boxes_are_well_formed(repo_root: Path) -> None:
    paths = sorted((repo_root / "models" / "training" / "boxes").glob("*.toml"))
    assert paths
    assert all(crops.read_boxes(path).boxes for path in paths)
