"""What is doubtful of a slide that opens is in the report of the probe."""

from pathlib import Path

import numpy as np
import tifffile

from server.intake.probe import examine

MAX_PIXELS = 10**9


def test_a_level_of_another_picture_is_in_the_report(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8).repeat(32, axis=0).repeat(32, axis=1)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for level in (pixels, np.ascontiguousarray(pixels[::-2, ::2])):
            file.write(level, photometric="rgb", tile=(64, 64), metadata=None)
    assert [each.code for each in examine(tmp_path / "a.tif", MAX_PIXELS).warnings] == ["level_differs"]
