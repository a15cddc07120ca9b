"""What metrics are called: tables to the letter, figures counted by hand, names as in the documents."""

from pathlib import Path

import numpy as np
from markdown_tables import rows

from models.training.evaluation.metric_names import BINARY, MEANS, METRICS, OF_A_CLASS, OF_OBJECTS
from models.training.evaluation.publish import card_table
from models.training.evaluation.report import markdown, text
from models.training.evaluation.summary import Evaluation, Measured, ObjectCounts, Setting, summarise
from models.training.figures import radar
from models.training.study.plan import Study, Variant, load_study
from models.training.study.table import markdown as study_page

ROOT = Path(__file__).parents[4]

# Rows [6, 2] and [1, 3]: 3 of the 4 pixels of gland are found, and 5 are called it.
PAGE = """\
m on 1 images of set, protocol cell, seed 0. No intervals.

Classes, cell: without the reference's background
class         Dice     IoU    acc.   prec.  pixels
background       –       –       –       –       8
gland       0.8571  0.7500  0.7500  1.0000       4

Means, cell: without the reference's background
figure   value
DICE    0.8571
MPA     0.7500
mIoU    0.7500
FwIoU   0.7500

gland against the rest, cell: without the reference's background
figure      value
IoU        0.7500
F1         0.8571
precision  1.0000
recall     0.7500

Classes, all pixels
class         Dice     IoU    acc.   prec.  pixels
background  0.8000  0.6667  0.7500  0.8571       8
gland       0.6667  0.5000  0.7500  0.6000       4

Means, all pixels
figure   value
DICE    0.7333
MPA     0.7500
mIoU    0.5833
FwIoU   0.6111

gland against the rest, all pixels
figure      value
IoU        0.5000
F1         0.6667
precision  0.6000
recall     0.7500

Pixels: those of each class of the reference in a row, by the class that was found
            background  gland
background           6      2
gland                1      3

Objects, all classes as one
figure                                                  value
AJI                                                    0.7500
PQ                                                     0.6000
SQ                                                     0.7500
DQ                                                     0.8000
F1                                                     0.8000
precision                                              1.0000
recall                                                 0.6667
count error                                                 –
count error is of            0 images with 20 objects or more
reference                     annotated one by one (1 images)
found              told apart by the distance map of the mask
"""


def evaluation() -> Evaluation:
    setting = Setting("m", "d", "set", ("background", "gland"), protocol="cell", resamples=0)
    counts = np.array([[3, 4, 1.5, 2, 0, 1]])  # pixels that meet and all of them; IoU of the matches, TP, FP, FN
    objects = ObjectCounts(counts, ("instances",), "distance")
    return summarise(setting, Measured(("a",), ("a",), np.array([[[6, 2], [1, 3]]]), objects))


def test_the_tables_of_an_evaluation() -> None:
    assert text(evaluation()) == PAGE
    assert "\n| class | Dice | IoU | acc. | prec. | pixels |\n" in markdown(evaluation())


def test_the_table_of_a_card() -> None:
    headings = [f"{name} (95 % interval)" for name in ("gland Dice", "PQ", "F1", "count error")]
    assert card_table([evaluation()]).splitlines()[0] == f"| set | images | {' | '.join(headings)} |"


def test_the_heads_of_a_study(tmp_path: Path) -> None:
    recipe = load_study(ROOT / "models" / "training" / "studies" / "input.toml").recipe
    shown = ("mean_dice", "mpa", "miou", "fwiou", "dice.nucleus", "instances.aji")
    study = Study("s", "S", recipe, variants=(Variant("one"),), figures=shown)
    assert "\n| variant | seeds | DICE | MPA | mIoU | FwIoU | dice.nucleus | instances.aji | s/step |" in study_page(
        study, tmp_path
    )


def test_the_axes_of_a_radar(tmp_path: Path) -> None:
    file = tmp_path / "evaluation.json"
    named = '{"background": 0.5, "gland": 0.5}'
    parts = [f'"{key}": {named}' for key in ("dice", "iou", "accuracy", "precision")]
    rest = '"model": "m", "classes": ["background", "gland"], "confusion": [[1, 1], [1, 1]], "intervals": {}'
    file.write_text(f"{{{rest}, {', '.join(parts)}}}")
    words = ("Dice", "IoU", "accuracy", "precision")
    axes = radar.read_evaluations([("", file)], "dice").axes
    assert axes == tuple(f"{name}\n{word}" for name in ("background", "gland") for word in words)


def test_the_documents_give_each_name() -> None:
    page = (ROOT / "docs" / "evaluation.md").read_text()
    told = {keys.replace("`", ""): shown for shown, keys, _ in rows(page)[0][2:]}
    assert [METRICS[key].heading for key in BINARY] == told.pop("binary").split(", ")
    assert [METRICS[key].heading for key in OF_OBJECTS] == told.pop("instances").split(", ")
    columns = dict(zip(", ".join(told).split(", "), ", ".join(told.values()).split(", "), strict=True))
    assert columns == {key: METRICS[key].column for key in (*OF_A_CLASS, *MEANS)}
