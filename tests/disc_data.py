"""A data set of dark discs on a pink ground, and a recipe that trains a small network on it."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from small_network import SMALL

from models.checkpoint import ModelClass
from models.config import LDiffusionConfig, ScheduleConfig
from models.training.crops.data import DatasetConfig
from models.training.recipe import STAGES, Recipe, StageConfig

CLASSES = (ModelClass(0, "background", (255, 255, 255)), ModelClass(1, "disc", (0, 0, 255)))

RECIPE_TEXT = """
name = "discs"
title = "Discs"
mpp = 0.5
license = "none"
intended_use = "tests"
crop_px = 32
halo_px = 16
tile_px = 64
log_every = 1
validate_every = 2

[[classes]]
name = "background"
color = [255, 255, 255]

[[classes]]
name = "disc"
color = [0, 0, 255]

[[datasets]]
root = "discs"
mpp = 0.5
validation = ["4"]

[model]
preset = "tiny"

[stage0]
steps = 1
batch = 2
"""


def disc_image(seed: int, side: int = 96) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return an image (side, side, 3) and its labels (side, side)."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:side, :side]
    labels = np.zeros((side, side), np.uint8)
    for _ in range(6):
        cy, cx, r = rng.integers(8, side - 8), rng.integers(8, side - 8), rng.integers(5, 11)
        labels[(yy - cy) ** 2 + (xx - cx) ** 2 <= r * r] = 1
    image = np.where(labels[..., None] == 1, (90, 60, 140), (230, 180, 210)) + rng.normal(0, 6, (side, side, 3))
    return image.clip(0, 255).astype(np.uint8), labels


def write_discs(root: Path) -> Path:
    """Write five pairs below `root/discs` and return `root`."""
    for folder in ("images", "masks"):
        (root / "discs" / folder).mkdir(parents=True)
    for seed in range(5):
        image, labels = disc_image(seed)
        Image.fromarray(image).save(root / "discs" / "images" / f"{seed}.png")
        Image.fromarray(labels).save(root / "discs" / "masks" / f"{seed}.png")
    return root


def disc_recipe(steps: int = 4) -> Recipe:
    """Return a recipe of all stages, `steps` steps each; image 4 is held out."""
    return Recipe(
        name="discs",
        title="Discs",
        mpp=0.5,
        license="none",
        intended_use="tests",
        classes=CLASSES,
        datasets=(DatasetConfig("discs", 0.5, validation=("4",)),),
        model=LDiffusionConfig(network=SMALL, schedule=ScheduleConfig(timesteps=(20, 90)), input="sequence+rgb"),
        crop_px=32,
        halo_px=16,
        log_every=1,
        validate_every=2,
        stages={name: StageConfig(steps=steps, batch=2, lr=3e-3) for name in STAGES},
    )
