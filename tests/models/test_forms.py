"""The forms of the diffusion: vectors among features, and the repairs of the decoded maps."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_network import SMALL
from torch import Tensor, nn

from models.checkpoint import save
from models.config import LDiffusionConfig, NetworkConfig, ScheduleConfig, VectorConfig
from models.folder import ModelClass, ModelSpec
from models.ldiffusion import LDiffusion, NoiseSource
from models.noise import NoiseField
from models.predictor import Predictor
from models.receptive_field import theoretical_reach

STEPS = ScheduleConfig(timesteps=(50, 200))
TRUNK = replace(SMALL, backbone="tf_efficientnet_lite0", trunk_widths=(4, 8, 8, 8, 12), trunk_depth=0)


def vectors(stride: int = 4, network: NetworkConfig = SMALL, *, beside: bool = True) -> LDiffusionConfig:
    own = VectorConfig(stride=stride, channels=5, widths=(8, 12), depth=1, beside=beside)  # type: ignore[arg-type]
    return LDiffusionConfig(num_classes=3, network=replace(network, vectors=own), schedule=STEPS)


def maps(**changes: object) -> LDiffusionConfig:
    return replace(LDiffusionConfig(num_classes=3, network=SMALL, schedule=STEPS), **changes)  # type: ignore[arg-type]


FORMS = {
    "vectors": vectors(),
    "vectors of stride 8": vectors(8),
    "vectors on a trunk": vectors(network=TRUNK),
    "vectors in place of features": vectors(beside=False),
    "vectors with scale": replace(vectors(), predict_scale=True),
    "colour": maps(colour=True, input="sequence+rgb"),
    "scale maps": maps(predict_scale=True, scale_maps=True),
    "batch norm": maps(network=replace(SMALL, norm="batch")),
    "all repairs in a chain": maps(
        colour=True, predict_scale=True, scale_maps=True, network=replace(SMALL, norm="batch"), sequence="chain"
    ),
}


def build(config: LDiffusionConfig) -> LDiffusion:
    """Return a model whose batch norms have seen something, so that their statistics differ by channel."""
    torch.manual_seed(0)
    model = LDiffusion(config).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches
    with torch.no_grad():
        for _ in range(3):
            logits = model(torch.rand(2, 3, 64, 64) * 2 - 1, *noise_of(model, 64, 64, count=2))
        # No class wins everywhere.
        model.segmenter.classify.bias -= logits.mean(dim=(0, 2, 3))
    return model.eval()


def noise_of(
    model: LDiffusion, height: int, width: int, top: int = 0, left: int = 0, *, seed: int = 1, count: int = 1
) -> tuple[NoiseSource, NoiseSource]:
    channels, f = model.config.latent_grid
    box = (top // f, left // f, (channels, height // f, width // f))
    field = NoiseField(model.config.schedule.law, seed)
    return (
        lambda t: field.draw(*box, t).expand(count, -1, -1, -1),
        lambda t: field.uniforms(*box, t).expand(count, -1, -1, -1),
    )


def picture(height: int, width: int) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(9)) * 2 - 1


@pytest.mark.slow  # a second or two each
@pytest.mark.parametrize("name", FORMS)
def test_a_tile_with_the_theoretical_halo_equals_the_whole(name: str) -> None:
    model = build(FORMS[name])
    reach, stride = theoretical_reach(model), model.config.network.stride_px
    top, left = 2 * stride, stride
    core, size = 2 * stride, 2 * reach + 2 * stride
    whole_px = size + 3 * stride
    image = picture(whole_px, whole_px)
    with torch.inference_mode():
        whole = model(image, *noise_of(model, whole_px, whole_px))
        tile = model(image[:, :, top : top + size, left : left + size], *noise_of(model, size, size, top, left))
    inner = slice(reach, reach + core)
    expected = whole[:, :, top + reach : top + reach + core, left + reach : left + reach + core]
    torch.testing.assert_close(tile[:, :, inner, inner], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", [name for name in FORMS if name.startswith("vectors")])
def test_the_vectors_are_not_inert(name: str) -> None:
    """Labels change with the vectors, and the vectors with the image and with the noise."""
    model, image = build(FORMS[name]), picture(64, 64)
    with torch.inference_mode():
        features = model.head.features(image)

        def read(seed: int) -> Tensor:
            noise, _ = noise_of(model, 64, 64, seed=seed)
            drawn = torch.cat([noise(t) for t in STEPS.timesteps])
            return model.pixel_vectors(model.estimates(features, drawn).original)

        own, otherwise = read(1), read(2)
        answer = model.segment_vectors(features, own)
        assert torch.equal(answer, model(image, *noise_of(model, 64, 64)))
        without = model.segment_vectors(features, torch.zeros_like(own))
        other = model(image.flip(3), *noise_of(model, 64, 64))
    assert own.shape == (1, model.config.vector_length, *features[model.level].shape[2:])
    assert (answer.argmax(dim=1) != without.argmax(dim=1)).float().mean() > 0.01
    assert (own - otherwise).abs().mean() > 0.01
    assert not torch.allclose(answer, other.flip(3), atol=1e-3)


def test_a_vector_holds_the_estimates_of_its_place_step_by_step() -> None:
    model = LDiffusion(vectors())
    original = torch.arange(2 * 3 * 5 * 4.0).reshape(6, 5, 2, 2)  # T = 2 steps of N = 3 images
    found = model.pixel_vectors(original)
    for image in range(3):
        literal = torch.cat([original[image], original[3 + image]])
        assert torch.equal(found[image], literal)


def test_labels_alone_reach_the_encoder_of_the_vectors() -> None:
    """The noise loss has no gradient on z_0: it cannot teach features that noise is easily told from."""
    model = build(vectors()).train()
    features = model.head.features(picture(64, 64))
    denoised = model.estimates(features, torch.randn(2, 5, 16, 16))
    weight = model.latent.get_parameter("project.weight")
    with pytest.raises(RuntimeError, match="not have been used"):
        torch.autograd.grad(denoised.noise.square().sum(), weight, retain_graph=True)
    (by_labels,) = torch.autograd.grad(denoised.original.square().sum(), weight)
    assert bool(by_labels.any())


@pytest.mark.parametrize("name", ["vectors", "colour", "scale maps"])
def test_a_predictor_gives_the_same_labels_after_a_round_trip_through_a_folder(name: str, tmp_path: Path) -> None:
    model = build(FORMS[name])
    classes = tuple(ModelClass(i, f"class {i}", (0, 0, i)) for i in range(3))
    spec = ModelSpec(
        "small", "Small", 0.5, classes, 64, 32, model.config.network.stride_px, "none", "tests", model.config
    )
    save(tmp_path / "small", model, spec)
    predictor = Predictor.load(tmp_path / "small", "cpu")
    image = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    x = torch.from_numpy(image).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.inference_mode():
        direct = model(x, *noise_of(model, 64, 64, seed=7)).argmax(dim=1)
    labels = predictor.predict(image, [(0, 0)], 7)[0]
    assert np.array_equal(labels, direct.numpy())
    if name == "vectors":
        assert not np.array_equal(labels, predictor.predict(image, [(0, 0)], 8)[0])
        with pytest.raises(ValueError, match="decodes no maps"):
            predictor.grey_maps(image, [(0, 0)], 7)


def test_channels_of_the_head_follow_the_repairs() -> None:
    assert maps().head_channels == 2
    assert maps(colour=True).head_channels == 6
    assert maps(colour=True, predict_scale=True, scale_maps=True, input="sequence+rgb").head_channels == 11
    assert vectors().head_channels == 3
    assert vectors().vector_length == 10


def test_a_scale_map_is_the_mean_of_its_latent_pixel() -> None:
    model = LDiffusion(maps(predict_scale=True, scale_maps=True))
    scales = torch.randn(2, 1, 3, 4, 4)
    found = model.scale_maps(scales.unbind())
    assert found.shape == (1, 2, 16, 16)
    for y, x in ((0, 0), (5, 14), (15, 3)):
        torch.testing.assert_close(found[0, :, y, x], scales[:, 0, :, y // 4, x // 4].mean(dim=1))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"head_widths": (4, 8), "head_depths": (0, 0)}, "vectors.stride is 4; the coarsest of the network's is 2"),
        ({"backbone": "convnext_atto"}, "our own network or a trunk"),
    ],
)
def test_vectors_need_features_of_their_stride(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        replace(SMALL, vectors=VectorConfig(), **change)  # type: ignore[arg-type]
