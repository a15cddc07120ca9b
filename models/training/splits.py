"""The images a recipe learns from and those it keeps for validation, read and checked before anything is trained."""

from pathlib import Path

from models.training.crops.check import check_training_data
from models.training.crops.data import Sample, load_parts
from models.training.recipe import Recipe


def load_split(recipe: Recipe, data_root: Path) -> tuple[list[Sample], list[Sample]]:
    """Read all datasets of a recipe: (training, validation).

    Raises:
        FileNotFoundError: A dataset is missing.
        ValueError: It cannot be read, or cannot be trained on (see `check_training_data`).
    """
    parts = [load_parts(dataset, data_root, len(recipe.classes)) for dataset in recipe.datasets]
    train, validation = ([sample for part in parts for sample in part[index]] for index in (0, 1))
    check_training_data(train, recipe.classes)
    return train, validation
