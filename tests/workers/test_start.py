"""What a worker imports before it is ready, and that what was put off is there when it is asked for."""

import subprocess
import sys

import pytest
import torch
from diffusers.models.embeddings import TimestepEmbedding, Timesteps

from models.networks.layers import StepEmbedding

HEAVY = {
    "diffusers",
    "torch._dynamo",
    "torch._inductor",
    "torchvision.datasets",
    "torchvision.transforms",
    "timm.data.loader",
    "timm.models.vision_transformer",
}
"""What nobody needs who runs a shipped model, and takes seconds to import."""

READY = """
import sys
from workers import tasks
from workers.core.model.catalogue import list_models, model_dir
from workers.core.settings import Settings
from workers.pipeline.inference import Engine

for card in list_models(Settings().models_dir):
    Engine(model_dir(Settings().models_dir, card.name), "cpu", 1)
print(*sys.modules)
"""

LATER = """
import models.ldiffusion, sys, timm, torchvision
assert "timm.models.vision_transformer" not in sys.modules
timm.create_model("vit_tiny_patch16_224", num_classes=0)
assert timm.__version__ and "resnet18" in timm.list_models()
assert torchvision.transforms.Resize and torchvision.models.resnet18
"""


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.process
@pytest.mark.slow
def test_no_shipped_model_has_a_worker_import_what_it_does_not_need() -> None:
    imported = set(run(READY).split())
    assert {"torch", "timm.models.efficientnet"} <= imported
    assert not HEAVY & imported


@pytest.mark.process
@pytest.mark.slow
def test_what_was_put_off_is_there_for_whoever_asks() -> None:
    run(LATER)


def test_the_embedding_of_a_step_is_that_of_diffusers() -> None:
    ours = StepEmbedding(48)
    theirs = TimestepEmbedding(64, 48)
    theirs.load_state_dict(ours.mlp.state_dict())
    steps = torch.tensor([1, 5, 25, 125, 999])
    wanted = theirs(Timesteps(64, flip_sin_to_cos=True, downscale_freq_shift=0)(steps))
    assert torch.equal(ours(steps), wanted)
