"""Counts of grey values: the latents are noised as the method says, the shares are of the same pixels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from disc_data import disc_image
from matplotlib.patches import StepPatch

from models.config import NoiseLaw
from models.noise import NoiseField
from models.predictor import Predictor
from models.training.crops.data import Sample
from models.training.figures import greys, vectors


def samples() -> list[Sample]:
    return [Sample(str(number), *disc_image(number, 50 + number), 0.5) for number in range(2)]


def test_overlap_is_the_share_in_common() -> None:
    one, other, apart = np.array([2, 2, 0]), np.array([0, 5, 5]), np.array([0, 0, 3])
    assert greys.overlap([one, one * 7]) == pytest.approx(1)
    assert greys.overlap([one, other]) == pytest.approx(0.5)
    assert greys.overlap([one, apart]) == 0
    assert greys.overlap([one, other, apart]) == pytest.approx((0.5 + 0 + 0.5) / 3)


@pytest.mark.parametrize("law", ["laplace", "gaussian"])
def test_noised_latents_are_the_marginals_of_the_law_at_each_pixel(random_model: Path, law: NoiseLaw) -> None:
    predictor = Predictor.load(random_model, "cpu")
    model, halo = predictor.model, predictor.halo_px
    f = model.config.network.latent_stride
    image = disc_image(0, 50)[0]
    found = greys.noised_latents(predictor, image, 3, law)
    padded = np.pad(image, ((halo, halo + 14), (halo, halo + 14), (0, 0)), mode="reflect")
    with torch.inference_mode():
        z0 = model.encode(torch.from_numpy(padded[None]).permute(0, 3, 1, 2).float() / 127.5 - 1)[0].numpy()
    field = NoiseField(law, 3)
    timesteps = model.config.schedule.timesteps
    assert found.shape == (len(timesteps), 50, 50)
    for place, t in enumerate(timesteps):
        kept = float(model.scheduler.alphas_cumprod[t])
        noise = field.draw(-halo // f, -halo // f, z0.shape, t, torch.device("cpu")).numpy()
        for row, col in ((0, 0), (17, 31), (49, 5)):
            at = (0, (halo + row) // f, (halo + col) // f)
            expected = kept**0.5 * z0[at] + (1 - kept) ** 0.5 * noise[at]
            assert found[place, row, col] == pytest.approx(expected, abs=1e-4)


def test_laws_change_the_noise_and_neither_weights_nor_pixels(random_model: Path) -> None:
    found = greys.of_laws(random_model, ["laplace", "gaussian"], samples(), 20, 1, "cpu")
    names = [row.name for row in found.rows]
    assert names == [
        "noised latent, laplace",
        "noised latent, gaussian",
        "grey map, laplace (trained with)",
        "grey map, gaussian",
    ]
    assert len({row.vectors.labels for row in found.rows}) == 1
    assert len({row.vectors.values for row in found.rows}) == 4
    own = vectors.collect(Predictor.load(random_model, "cpu"), samples(), 20, 1)
    assert found.rows[2].vectors == own


def test_every_pixel_is_counted_in_every_panel(random_model: Path) -> None:
    found = greys.of_laws(random_model, ["laplace"], samples(), 20, 1, "cpu")
    figure = greys.draw(found)
    steps = len(found.rows[0].vectors.timesteps)
    assert len(figure.axes) == len(found.rows) * steps
    for axis in figure.axes:
        filled = [patch for patch in axis.patches if isinstance(patch, StepPatch) and patch.get_fill()]
        counted = sum(float(np.sum(patch.get_data()[0])) for patch in filled)
        assert counted == len(found.rows[0].vectors.labels)
        assert axis.get_title().startswith("t = ")
        assert "overlap" in axis.get_title()
