"""Cut boxes out of slides for training: `ldiffusion crops BOXES.toml --slides FOLDER --out FOLDER`.

What a model outlines although it is nothing of its kind (keratin, ink, folds, debris) is best learned from the slides
on which it does so: look at a box, make sure that it holds none of the model's classes, and name it in a file.

    mpp = 0.5

    [[boxes]]
    slide = "CMU-1-Small-Region.svs"
    l0 = [1430, 960, 1620, 1180]
    kind = "keratin"

`l0` is x0, y0, x1, y1 in level-0 pixels. A box that does hold some has a `mask`, a PNG beside the file, of the crop's
size: a class number a pixel, 255 where nobody annotated. Without boxes of both kinds a model may take a slide's colours
for its answer. The folder that is made is a dataset (`docs/datasets.md`): `images/`, `masks/` and `dataset.toml`.
"""

import tomllib
from contextlib import closing
from pathlib import Path

import click
import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from workers.core.children.readers import Readers
from workers.core.command_line import CONTEXT, TellsErrors
from workers.core.errors.base import RequestInvalid
from workers.core.settings import Settings
from workers.pipeline.plane import PlaneReader
from workers.pipeline.tiling import WorkingPlane, best_level


class CropBox(BaseModel):
    """One box: level-0 px x0, y0, x1, y1 of a slide, what is to be seen in it, and its mask, if not all background."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    slide: str
    l0: tuple[int, int, int, int]
    kind: str
    mpp: float | None = None
    mask: str = ""

    @model_validator(mode="after")
    def _has_an_area(self) -> "CropBox":
        x0, y0, x1, y1 = self.l0
        if not (0 <= x0 < x1 and 0 <= y0 < y1):
            raise ValueError(f"l0 is {list(self.l0)}; accepted: x0, y0, x1, y1 with 0 <= x0 < x1 and 0 <= y0 < y1")
        return self


class CropList(BaseModel):
    """The file: µm per px of the crops, and the boxes; a box's own `mpp` is that of a slide that does not say it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mpp: float
    boxes: tuple[CropBox, ...]


@click.command(cls=TellsErrors, context_settings=CONTEXT)
@click.argument("boxes", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--slides", required=True, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the dataset.")
def main(boxes: Path, slides: Path, out: Path) -> None:
    """Cut BOXES, a TOML file, out of slides: a dataset of background, or of what their masks say."""
    wanted = read_boxes(boxes)
    for folder in ("images", "masks"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    with closing(Readers(Settings(), may_read_here=True)) as readers:
        for number, box in enumerate(wanted.boxes):
            pixels = cut(slides, box, wanted.mpp, readers)
            name = f"{box.kind.replace(' ', '_')}_{number:03}.png"
            Image.fromarray(pixels).save(out / "images" / name)
            Image.fromarray(_mask(boxes.parent, box, pixels)).save(out / "masks" / name)
    (out / "dataset.toml").write_text(f"mpp = {wanted.mpp!r}\n", encoding="utf-8")
    click.echo(f"{len(wanted.boxes)} crops at {wanted.mpp} µm/px in {out}")


def read_boxes(path: Path) -> CropList:
    """Read and check the file.

    Raises:
        RequestInvalid: It is no TOML, or a key is unknown, missing or has a value that is not accepted.
    """
    try:
        return CropList.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise RequestInvalid(f"{path.name}: {place}: {first['msg']}.", value=first["input"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RequestInvalid(f"{path.name} is not TOML: {error}.", value=path.name) from error


def cut(slides: Path, box: CropBox, mpp: float, readers: Readers) -> np.ndarray:
    """Return a box's pixels at `mpp`, (H, W, 3) uint8, read as a job reads them.

    Raises:
        RequestInvalid: The box lies outside of the slide.
        SlideUnreadable, MppMissing: The slide is not there, cannot be read, or does not say its resolution.
    """
    with readers.open(slides / box.slide) as slide:
        x0, y0, x1, y1 = box.l0
        if x1 > slide.geometry.l0_width or y1 > slide.geometry.l0_height:
            size = f"{slide.geometry.l0_width} x {slide.geometry.l0_height} px"
            raise RequestInvalid("The box reaches past the slide.", value=list(box.l0), accepted=f"within {size}")
        plane = WorkingPlane.from_geometry(slide.geometry, mpp, box.mpp)
        reader = PlaneReader(slide, plane, best_level(slide.geometry, plane))
        left, top = round(x0 / plane.scale_x), round(y0 / plane.scale_y)
        width, height = round(x1 / plane.scale_x) - left, round(y1 / plane.scale_y) - top
        return reader.read(left, top, max(1, width), max(1, height))


def _mask(folder: Path, box: CropBox, pixels: np.ndarray) -> np.ndarray:
    if not box.mask:
        return np.zeros(pixels.shape[:2], np.uint8)
    try:
        with Image.open(folder / box.mask) as image:
            mask = np.asarray(image)
    except OSError as error:
        raise RequestInvalid("The mask cannot be read.", value=box.mask) from error
    if mask.shape != pixels.shape[:2] or mask.dtype != np.uint8:
        found = f"{box.mask}: {mask.dtype} {mask.shape}"
        raise RequestInvalid("The mask does not fit its crop.", value=found, accepted=f"uint8 {pixels.shape[:2]}")
    return mask


if __name__ == "__main__":
    main()
