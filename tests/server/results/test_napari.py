"""The lines of docs/napari.md without napari's window: what they put where."""

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from fiducials import MARKS, MODEL_MPP, SLIDE_MPP, Finished

ROOT = Path(__file__).resolve().parents[3]


class Viewer:
    """Keeps the layers that are added to it: levels and options."""

    layers: dict[str, tuple[list[Any], dict[str, Any]]]

    def __init__(self) -> None:
        Viewer.layers = {}

    def add_image(self, data: list[Any], *, name: str, **options: Any) -> None:
        self.layers[name] = data, options

    add_labels = add_image


def box_um(name: str, chosen: Any) -> list[float]:
    """Edges of the chosen pixels in µm, as napari places them: the middle of the first pixel at `translate`."""
    data, options = Viewer.layers[name]
    places = np.argwhere(chosen(np.asarray(data[0][:])))
    scale, shift = np.array(options["scale"]), np.array(options.get("translate", (0, 0)))
    edges = (places.min(axis=0) - 0.5) * scale + shift, (places.max(axis=0) + 0.5) * scale + shift
    return [round(float(each), 6) for each in np.concatenate(edges)]


@pytest.mark.parametrize("job", ["plain", "bounded"], indirect=True)
def test_labels_lie_on_what_they_label(job: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "napari.md").read_text(), re.MULTILINE | re.DOTALL)
    napari = ModuleType("napari")
    napari.__dict__.update(Viewer=Viewer, run=lambda: None)
    monkeypatch.setitem(sys.modules, "napari", napari)
    (tmp_path / "slide.tif").symlink_to(job.store.slide_file(job.info.id))
    (tmp_path / "labels.ome.tif").symlink_to(job.folder / "labels.ome.tif")
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "docs/napari.md", "exec"), {})
    x0, y0 = min(mark.x for mark in MARKS), min(mark.y for mark in MARKS)
    x1, y1 = max(mark.box[2] for mark in MARKS), max(mark.box[3] for mark in MARKS)
    half = SLIDE_MPP / 2
    wanted = [edge * SLIDE_MPP - half for edge in (y0, x0, y1, x1)]
    assert box_um("slide", lambda pixels: pixels[..., 0] == 40) == wanted  # tiles that are absent are 0
    assert box_um("classes", lambda labels: labels == 1) == wanted
    data, options = Viewer.layers["classes"]
    assert len(data) > 1
    assert options["scale"] == (MODEL_MPP, MODEL_MPP)
    for data, _ in Viewer.layers.values():
        data[0].store.close()
