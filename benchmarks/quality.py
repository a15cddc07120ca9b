"""How well pen marks, folds and blur are found: `python -m benchmarks.quality [--data ../shared/data] [--pictures F]`.

Real sections at 8 µm per px are spoiled by script, and real fields at 1 µm per px put out of focus. Recall is the share
of what was spoiled that is found, precision the share of what is found that was spoiled, or lies within 24 µm of it.
What is found on the same sections before they are spoiled is counted as well. Group A was looked at while the rules
were made; the seed of group B was first used when they were done.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
from PIL import Image
from scipy import ndimage

from benchmarks.quality_artefacts import Scene, blurred_fields, clean_scenes, folded, inked
from benchmarks.report import figure
from benchmarks.tissue_thumbnails import Mask, Pixels, Textures
from workers.core.command_line import CONTEXT
from workers.pipeline.overview import Overview
from workers.pipeline.quality import find_folds, is_blurred
from workers.pipeline.quality_map import BLOCK_PX
from workers.pipeline.tissue import find_tissue
from workers.trust import SPOILED

SCENES, SEEDS, FIELDS = 12, {"A": 11, "B": 2032}, 6
NEAR_PX = 3


class Score(NamedTuple):
    """Of one scene, or of all blocks of one kind; None where there is nothing to divide by."""

    recall: float | None
    precision: float | None


def score(found: Mask, spoiled: Mask) -> Score:
    """Compare what is found with what was spoiled, bool (height, width) both."""
    near = ndimage.binary_dilation(spoiled, np.ones((3, 3)), iterations=NEAR_PX)
    recall = float(found[spoiled].mean()) if spoiled.any() else None
    return Score(recall, float(near[found].mean()) if found.any() else None)


def look_at(pixels: Pixels) -> tuple[Mask, Mask, Mask]:
    """Return ink, folds and tissue of an overview."""
    seen = Overview.of(pixels)
    tissue = find_tissue(seen)
    return seen.ink, find_folds(pixels, seen.glass, tissue & ~seen.ink), tissue


def picture(scene: Scene, ink: Mask, folds: Mask) -> Pixels:
    """Return a scene beside what is found, ink in yellow, folds in cyan, and what was spoiled and not found in red."""
    panel = scene.pixels.copy()
    panel[scene.spoiled & ~ink & ~folds] = (255, 0, 0)
    panel[ink], panel[folds & ~ink] = (255, 220, 0), (0, 220, 255)
    return np.hstack([scene.pixels, panel])


class Run:
    """The scores of one group, by kind.

    Args:
        data: Folder of the data sets.
        group: "A" or "B".
        scenes: How many sections are spoiled in each way.
        pictures: Folder for pictures, if they are wanted.
    """

    def __init__(self, data: Path, group: str, scenes: int, pictures: Path | None) -> None:
        self.scores: dict[str, list[Score]] = {"ink": [], "fold": [], "blur": []}
        self.clean: dict[str, list[float]] = {"ink": [], "fold": [], "blur": []}
        self.tissue: dict[str, list[float]] = {"glass": [], "kept": []}
        self._data, self._group, self._count, self._pictures = data, group, scenes, pictures

    def measure(self, textures: Textures) -> None:
        """Spoil, look, and print a row for each scene."""
        print(f"\n{'group ' + self._group:56}{'recall':>10}{'precision':>10}")
        rng = np.random.default_rng(SEEDS[self._group])
        scenes = clean_scenes(self._data, textures, self._count, SEEDS[self._group])
        for index, scene in enumerate(scenes):
            self._look_at_clean(scene, index)
            self._look_at_ink(inked(scene, index, rng), scene, index)
            self._look_at_folds(folded(scene, rng), index)
        self._look_at_focus()

    def _look_at_clean(self, scene: Scene, index: int) -> None:
        ink, folds, tissue = look_at(scene.pixels)
        for kind, found in (("ink", ink), ("fold", folds)):
            self.clean[kind].append(float(found[tissue].mean()))
        print(f"{'as it is: ' + scene.name:56}{self.clean['ink'][-1]:9.2%} ink {self.clean['fold'][-1]:9.2%} fold")
        self._draw(scene, ink, folds, f"clean{index:02}")

    def _look_at_ink(self, scene: Scene, clean: Scene, index: int) -> None:
        ink, folds, tissue = look_at(scene.pixels)
        self._keep("ink", scene.name, score(ink, scene.spoiled))
        on_glass = scene.spoiled & ~ndimage.binary_dilation(clean.tissue, np.ones((3, 3)), iterations=NEAR_PX)
        self.tissue["glass"] += [float(tissue[on_glass].mean())] if on_glass.any() else []
        self.tissue["kept"].append(float(tissue[clean.tissue].mean()))
        self._draw(scene, ink, folds, f"ink{index:02}")

    def _look_at_folds(self, scene: Scene, index: int) -> None:
        ink, folds, _ = look_at(scene.pixels)
        self._keep("fold", f"fold, {scene.name}", score(folds, scene.spoiled))
        self._draw(scene, ink, folds, f"fold{index:02}")

    def _look_at_focus(self) -> None:
        for field in blurred_fields(self._data, FIELDS, self._group, SEEDS[self._group]):
            sharp, blurred = ([is_blurred(block) for block in _blocks(each)] for each in (field.sharp, field.blurred))
            false, true = sharp.count(True), blurred.count(True)
            told = len(blurred) - blurred.count(None)
            self.clean["blur"] += [float(each) for each in sharp if each is not None]
            found = Score(true / told if told else None, true / (true + false) if true + false else None)
            self._keep("blur", f"blur, {field.name}, {told} blocks", found)

    def _keep(self, kind: str, name: str, found: Score) -> None:
        self.scores[kind].append(found)
        recall, precision = ("-" if each is None else f"{each:.3f}" for each in found)
        print(f"{name:56}{recall:>10}{precision:>10}")

    def _draw(self, scene: Scene, ink: Mask, folds: Mask, name: str) -> None:
        if self._pictures is not None:
            self._pictures.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(scene, ink, folds)).save(self._pictures / f"{self._group}-{name}.png")


def _blocks(field: Pixels) -> Iterator[Pixels]:
    """Yield the blocks of a field in which focus is told; a smaller field is one block."""
    rows, columns = (range(0, max(1, side - BLOCK_PX + 1), BLOCK_PX) for side in field.shape[:2])
    for y in rows:
        for x in columns:
            yield field[y : y + BLOCK_PX, x : x + BLOCK_PX]


def report(name: str, runs: list[Run]) -> None:
    """Print the figures of some groups together."""
    for kind in ("ink", "fold", "blur"):
        scores = [each for run in runs for each in run.scores[kind]]
        for part in ("recall", "precision"):
            values = [value for each in scores if (value := getattr(each, part)) is not None]
            if values:
                figure(f"{name}.{kind}_{part}", float(np.mean(values)), "", (min(values), max(values)))
        clean = [value for run in runs for value in run.clean[kind]]
        figure(f"{name}.{kind}_on_clean", float(np.mean(clean)), "", (min(clean), max(clean)))
        if kind != "blur":
            figure(f"{name}.{kind}_false_warnings", sum(value >= SPOILED[kind].least for value in clean), "")
    glass, kept = ([value for run in runs for value in run.tissue[part]] for part in ("glass", "kept"))
    figure(f"{name}.inked_glass_as_tissue", float(np.mean(glass)), "", (min(glass), max(glass)))
    figure(f"{name}.tissue_kept_beside_ink", float(np.mean(kept)), "", (min(kept), max(kept)))


DATA = Path(os.environ.get("LDIFFUSION_TEST_DATA", "../shared/data"))


@click.command(context_settings=CONTEXT, help=__doc__.splitlines()[0])
@click.option("--data", type=click.Path(path_type=Path), default=DATA, help="Folder of sections and images.")
@click.option("--pictures", type=click.Path(path_type=Path), help="Write each section and what is found on it here.")
@click.option("--scenes", type=click.IntRange(min=1), default=SCENES, help="Sections of each group.")
def main(data: Path, pictures: Path | None, scenes: int) -> None:
    textures = Textures(data)
    runs = {group: Run(data, group, scenes, pictures) for group in SEEDS}
    for run in runs.values():
        run.measure(textures)
    print()
    for group, run in runs.items():
        report(f"quality.group_{group.lower()}", [run])
    report("quality", list(runs.values()))


if __name__ == "__main__":
    main()
