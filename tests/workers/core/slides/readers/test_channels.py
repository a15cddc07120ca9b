"""Channels of an OME-TIFF: three make a picture, and what is left out is said."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from workers.core.slides.readers.registry import open_slide


@pytest.mark.parametrize("count", [2, 3, 5])
def test_channels_beyond_the_third_are_named(tmp_path: Path, count: int) -> None:
    path = tmp_path / "a.ome.tif"
    planes = np.arange(count, dtype=np.uint8)[:, np.newaxis, np.newaxis] * 40 + np.zeros((1, 256, 256), np.uint8)
    names = [f"dye {number}" for number in range(count)]
    metadata = {"axes": "CYX", "Channel": {"Name": names}}
    tifffile.imwrite(path, planes, tile=(64, 64), photometric="minisblack", metadata=metadata)
    with open_slide(path) as slide:
        assert slide.content.channels == tuple(names)
        assert slide.read_level(0, 0, 0, 1, 1)[0, 0].tolist() == [0, 40, 80 if count > 2 else 0]
        unread = [each.value for each in slide.warnings if each.code == "channels_unread"]
    assert unread == (["dye 3, dye 4"] if count == 5 else [])
