"""The model card: every figure of `config.json` stands in it, and nothing else of it changes."""

from pathlib import Path

import numpy as np
import pytest

from models.training.evaluation.marked import fill
from models.training.evaluation.publish import BEGIN, END, card_figures, card_table
from models.training.evaluation.summary import Evaluation, Measured, Setting, summarise

NAMES = ("background", "nucleus", "stroma")


def evaluated(counted: tuple[int, ...] = (1, 1, 1)) -> Evaluation:
    """Six images; a class whose `counted` is 0 is not in the reference."""
    confusion = np.random.default_rng(0).integers(1, 90, (6, 3, 3)) * np.array(counted)[:, None]
    setting = Setting("thresholds", "", "made/test", NAMES, resamples=50)
    return summarise(setting, Measured(tuple("012345"), tuple("012345"), confusion))


def test_card_figures_are_all_in_the_card(tmp_path: Path) -> None:
    evaluation = evaluated()
    found = card_figures(evaluation)
    assert set(found) == {f"dice_{c}_made_test{end}" for c in NAMES[1:] for end in ("", "_low", "_high")}
    interval = evaluation.intervals["dice", "nucleus"]
    assert found["dice_nucleus_made_test_low"] == round(interval.low, 4)
    assert found["dice_nucleus_made_test_high"] == round(interval.high, 4)
    card = tmp_path / "README.md"
    card.write_text(f"# x\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    for _ in range(2):
        assert fill(card, BEGIN, END, card_table([evaluation, evaluation]))
    page = card.read_text()
    assert page.startswith(f"# x\n\n{BEGIN}\n| set | images | nucleus Dice (95 % interval) |")
    assert page.endswith(f"|\n{END}\n\nafter\n")
    assert "old" not in page
    assert page.count("| `made/test` | 6 |") == 2
    assert all(f"{value:.4f}" in page for value in found.values())


@pytest.mark.parametrize("page", [None, "# a card\n", f"{BEGIN}\nno end\n", f"{END}{BEGIN}"])
def test_a_card_without_the_lines_is_left_as_it_is(page: str | None, tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    if page is not None:
        card.write_text(page)
    assert not fill(card, BEGIN, END, "table\n")
    assert (card.read_text() if card.exists() else None) == page


def test_a_class_that_the_set_does_not_have_has_no_figure() -> None:
    evaluation = evaluated((1, 1, 0))
    assert {name.removesuffix("_low").removesuffix("_high") for name in card_figures(evaluation)} == {
        "dice_nucleus_made_test"
    }
    assert "| – |" in card_table([evaluation])
