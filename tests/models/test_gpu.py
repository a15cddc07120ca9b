"""What a GPU computes, held against the processor: noise bit by bit, labels all but a few, memory within what is told.

Skipped where torch finds no CUDA device.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from models.config import NoiseLaw
from models.folder import Precision
from models.noise import NoiseField
from models.predictor import Predictor
from workers.core.sizing.memory import UNMEASURED

pytestmark = pytest.mark.gpu

ZOO = Path(__file__).resolve().parents[2] / "models" / "zoo"
MODELS = sorted(path.parent.name for path in ZOO.glob("*/config.json"))
SIDE = 512


@pytest.fixture(scope="module")
def gpu() -> torch.device:
    """The first GPU."""
    if not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device here")
    return torch.device("cuda")


@pytest.fixture(scope="module")
def image() -> NDArray[np.uint8]:
    """Blots of the colours of haematoxylin and eosin, (SIDE, SIDE, 3)."""
    rng = np.random.default_rng(5)
    fine, coarse = (gaussian_filter(rng.normal(size=(SIDE, SIDE)), sigma) for sigma in (4, 24))
    nucleus, stroma = fine > fine.std(), coarse > 0
    made = np.where(stroma[..., None], (225, 160, 195), (240, 225, 235))
    made = np.where(nucleus[..., None], (110, 70, 150), made) + rng.normal(scale=6, size=(SIDE, SIDE, 3))
    return made.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("law", ["laplace", "gaussian", "student_t", "cauchy"])
def test_the_noise_field_is_the_same_bit_by_bit(gpu: torch.device, law: NoiseLaw) -> None:
    field, other = NoiseField(law, 2**31 - 1), NoiseField(law, 2**31 - 1)
    for row, col, step in ((0, 0, 10), (-512, 3, 600), (2**20, -(2**20), 250)):
        here = field.draw(row, col, (4, 65, 63), step)
        there = other.draw(row, col, (4, 65, 63), step, gpu)
        assert there.device.type == "cuda"
        assert torch.equal(here.view(torch.int32), there.cpu().view(torch.int32))
        assert torch.equal(
            field.uniforms(row, col, (4, 8, 9), step), other.uniforms(row, col, (4, 8, 9), step, gpu).cpu()
        )


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", MODELS)
def test_labels_are_those_of_the_processor(
    gpu: torch.device, image: NDArray[np.uint8], name: str, precision: Precision
) -> None:
    there = Predictor.load(ZOO / name, gpu.type)
    if precision == "bfloat16" and there.spec.half is None:
        pytest.skip(f"{name} was not measured in bfloat16")
    here = Predictor.load(ZOO / name, "cpu")
    expected, sure, *_ = here.predict(image[None], [(0, 0)], 0)
    labels, confidence, *_ = there.predict(image[None], [(0, 0)], 0, precision)
    assert (labels == expected).mean() >= 0.999
    assert np.median(np.abs(confidence.astype(int) - sure)) <= 1


@pytest.mark.parametrize("name", MODELS)
def test_a_tile_takes_no_more_memory_than_jobs_are_told(gpu: torch.device, name: str) -> None:
    predictor = Predictor.load(ZOO / name, gpu.type)
    side = predictor.tile_px + 2 * predictor.halo_px
    torch.cuda.synchronize(gpu)
    torch.cuda.reset_peak_memory_stats(gpu)
    held = torch.cuda.memory_allocated(gpu)
    predictor.predict(np.full((1, side, side, 3), 200, np.uint8), [(0, 0)], 0)
    assert torch.cuda.max_memory_allocated(gpu) - held <= UNMEASURED.per_px * side**2


def test_a_device_that_computes_is_alive(gpu: torch.device) -> None:
    assert Predictor.load(ZOO / MODELS[0], gpu.type).is_alive
