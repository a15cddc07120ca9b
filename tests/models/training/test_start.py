"""A run that begins with the weights of others."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_network import SMALL

from models.checkpoint import CheckpointError, save
from models.config import LDiffusionConfig, NetworkConfig
from models.folder import ModelClass, ModelSpec
from models.ldiffusion import LDiffusion
from models.training.start import start_from

CLASSES = (ModelClass(0, "background", (0, 0, 0)), ModelClass(1, "nucleus", (200, 0, 0)))
ALONE = LDiffusionConfig(sequence="none", network=SMALL)


def saved(config: LDiffusionConfig, folder: Path, seed: int) -> LDiffusion:
    torch.manual_seed(seed)
    model = LDiffusion(config)
    spec = ModelSpec("made", "Made", 0.5, CLASSES, 64, 64, 16, "none", "tests", config)
    save(folder, model, spec)
    return model


def test_a_network_that_reads_maps_begins_as_its_sibling_that_does_not(tmp_path: Path) -> None:
    alone = saved(ALONE, tmp_path / "alone", 1).eval()
    whole = saved(replace(ALONE, sequence="parallel"), tmp_path / "whole", 2)
    model = LDiffusion(replace(ALONE, sequence="parallel", input="sequence+rgb")).eval()
    start_from(model, [str(tmp_path / "whole"), str(tmp_path / "alone")])
    assert all(torch.equal(p, whole.state_dict()[name]) for name, p in model.unet.named_parameters("unet"))
    image, grey = torch.rand(1, 3, 64, 64), torch.rand(1, 5, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(model.segment(image, grey), alone.segment(image, None))


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        start_from(LDiffusion(ALONE), [str(tmp_path)])
    saved(ALONE, tmp_path / "small", 1)
    other = LDiffusion(replace(ALONE, num_classes=5, network=NetworkConfig(backbone="tf_efficientnet_lite0")))
    with pytest.raises(ValueError, match="small shares no weights with this model"):
        start_from(other, [str(tmp_path / "small")])
