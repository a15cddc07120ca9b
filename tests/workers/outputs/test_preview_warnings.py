"""A preview says why its result cannot be trusted as it is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from workers.core.slide_schemas import TrustWarning
from workers.core.slides.readers.registry import open_slide
from workers.outputs import preview
from workers.pipeline.stitch import LabelArrays


@pytest.mark.parametrize("count", [0, 1, 4, 7])
def test_warnings_are_lines_below_the_legend(
    make_plan: Callable[..., Any],
    watched: Callable[..., Any],
    made_slide: Callable[..., Path],
    tmp_path: Path,
    count: int,
) -> None:
    plan = make_plan(900, 700, mpp_x=0.5, mpp_y=0.5)
    labels = np.zeros((700, 900), np.uint8)
    arrays = LabelArrays(watched(labels, 256), watched(labels, 256))
    warnings = [TrustWarning(code=f"code_{i}", message=f"Reason {i} to doubt this.") for i in range(count)]
    path = tmp_path / "preview.png"
    with open_slide(made_slide(np.full((700, 900, 3), 180, np.uint8), mpp=0.5)) as slide:
        preview.write_preview(path, slide, arrays, plan, None, warnings)
    with Image.open(path) as image:
        inked = (np.asarray(image.convert("RGB")) == preview.DOUBT).all(axis=2)
    rows = np.flatnonzero(inked.any(axis=1))
    lines = np.count_nonzero(np.diff(rows, prepend=-preview.LINE) > 4)
    shown = min(count, preview.WARNINGS_SHOWN) + (count > preview.WARNINGS_SHOWN)
    assert lines == shown
    if count:
        assert np.flatnonzero(inked.any(axis=0)).min() >= preview.MARGIN + 900
