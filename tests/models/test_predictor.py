"""The predictor: shapes, errors, determinism, and a folder that cannot be altered unnoticed."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small_network import SMALL

from models.checkpoint import CheckpointError, load_config
from models.config import LDiffusionConfig, ObjectConfig
from models.folder import ModelClass, ModelSpec
from models.ldiffusion import LDiffusion
from models.objects import shallow
from models.predictor import Predictor


def tiles(count: int, side: int = 64) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def test_labels_and_confidence_have_the_tile_shape(random_model: Path) -> None:
    predictor = Predictor.load(random_model, "cpu")
    labels, confidence = predictor.predict(tiles(2), [(0, 0), (-64, 128)], seed=0)
    assert labels.shape == confidence.shape == (2, 64, 64)
    assert labels.dtype == confidence.dtype == np.uint8
    assert labels.max() < len(predictor.classes)
    assert confidence.min() >= 255 // len(predictor.classes)


def test_confidence_is_the_largest_probability(random_model: Path) -> None:
    predictor = Predictor.load(random_model, "cpu")
    logits = predictor.logits(tiles(1), [(0, 0)], 0).numpy()
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels, confidence = predictor.predict(tiles(1), [(0, 0)], 0)
    assert np.array_equal(labels, probability.argmax(axis=1))
    assert np.abs(confidence - 255 * probability.max(axis=1)).max() <= 0.51


def with_interior(least_interior: float = 0.0) -> Predictor:
    torch.manual_seed(3)
    config = LDiffusionConfig(sequence="none", interior_um=2.5, network=SMALL)
    classes = (ModelClass(0, "background", (0, 0, 0)), ModelClass(1, "nucleus", (200, 0, 0)))
    spec = ModelSpec("made", "Made", 0.5, classes, 64, 64, config.network.stride_px, "none", "tests", config)
    rules = ObjectConfig(least_interior=least_interior)
    return Predictor(LDiffusion(config), replace(spec, objects=rules), "0" * 64, torch.device("cpu"))


def test_a_model_with_an_interior_map_gives_it_as_a_third_plane() -> None:
    predictor = with_interior()
    output = predictor.logits(tiles(2), [(0, 0), (0, 64)], 0).numpy()
    labels, confidence, interior = predictor.predict(tiles(2), [(0, 0), (0, 64)], 0)
    assert output.shape == (2, 3, 64, 64)
    assert interior.dtype == np.uint8
    assert np.array_equal(labels, output[:, :2].argmax(axis=1))  # the map is no class
    assert confidence.min() >= 255 // 2
    assert np.abs(interior - 255 / (1 + np.exp(-output[:, 2]))).max() <= 0.51


def test_a_temperature_changes_the_confidence_alone() -> None:
    sharp = with_interior(0.9)
    flat = Predictor(sharp.model, replace(sharp.spec, temperature=2.0), sharp.digest, sharp.device)
    asked = tiles(2), [(0, 0), (0, 64)], 0
    output = sharp.logits(*asked)
    (labels, before, interior), (same, after, alike) = sharp.predict(*asked), flat.predict(*asked)
    np.testing.assert_array_equal(same, labels)
    np.testing.assert_array_equal(alike, interior)
    told = (output[:, :2] / 2).softmax(dim=1).gather(1, torch.from_numpy(labels.astype(np.int64))[:, None])[:, 0]
    assert np.abs(after - 255 * told.numpy()).max() <= 0.51
    assert not np.array_equal(after, before)


def test_small_places_without_a_middle_are_background_with_its_probability() -> None:
    asked = tiles(2), [(0, 0), (0, 64)], 0
    plain, strict = with_interior(), with_interior(1.0)
    output = plain.logits(*asked).numpy()
    lean = float(np.quantile(output[:, 0] - output[:, 1], 0.5))  # half of the pixels are nuclei: large ones and small
    for predictor in (plain, strict):
        predictor.model.segmenter.classify.bias.data[1] += lean
    before, confidence, interior = plain.predict(*asked)
    labels, sure, same = strict.predict(*asked)
    np.testing.assert_array_equal(same, interior)
    gone = np.stack([shallow(before[n], interior[n], 0.5, 1.0) for n in range(2)])
    assert 0 < gone.sum() < (before > 0).sum()  # some are too large to be asked about
    np.testing.assert_array_equal(labels, np.where(gone, 0, before))
    np.testing.assert_array_equal(sure[~gone], confidence[~gone])
    assert np.abs(sure[gone].astype(int) + confidence[gone] - 255).max() <= 1


def test_answer_does_not_depend_on_the_batch(random_model: Path) -> None:
    predictor = Predictor.load(random_model, "cpu")
    images, origins = tiles(3), [(0, 0), (64, 0), (-32, 16)]
    together = predictor.logits(images, origins, seed=4).numpy()
    for index in range(3):
        alone = predictor.logits(images[index : index + 1], origins[index : index + 1], seed=4).numpy()
        np.testing.assert_allclose(alone[0], together[index], atol=1e-4)


def test_seed_and_origin_matter_and_repeat(random_model: Path) -> None:
    predictor = Predictor.load(random_model, "cpu")
    base = predictor.logits(tiles(1), [(0, 0)], seed=1).numpy()
    assert np.array_equal(base, predictor.logits(tiles(1), [(0, 0)], seed=1).numpy())
    assert not np.allclose(base, predictor.logits(tiles(1), [(0, 0)], seed=2).numpy(), atol=1e-5)
    assert not np.allclose(base, predictor.logits(tiles(1), [(16, 0)], seed=1).numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("images", "origins", "sentence"),
    [
        (np.zeros((1, 64, 64, 3), np.float32), [(0, 0)], "must be uint8"),
        (np.zeros((1, 3, 64, 64), np.uint8), [(0, 0)], "must be uint8"),
        (np.zeros((1, 64, 60, 3), np.uint8), [(0, 0)], "multiples of 16 working px, got 60"),
        (np.zeros((1, 64, 64, 3), np.uint8), [(0, 8)], "multiples of 16 working px, got 8"),
        (np.zeros((2, 64, 64, 3), np.uint8), [(0, 0)], "as many origins"),
    ],
)
def test_bad_tiles_are_refused(
    random_model: Path, images: NDArray[np.uint8], origins: list[tuple[int, int]], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        Predictor.load(random_model, "cpu").predict(images, origins, 0)


def test_folder_survives_a_round_trip(random_model: Path) -> None:
    one, two = Predictor.load(random_model, "cpu"), Predictor.load(random_model, "cpu")
    assert one.digest == two.digest
    assert np.array_equal(one.logits(tiles(1), [(0, 0)], 0).numpy(), two.logits(tiles(1), [(0, 0)], 0).numpy())


def test_a_model_folder_can_be_read_by_whoever_the_umask_lets(random_model: Path) -> None:
    config, weights = (random_model / name for name in ("config.json", "model.safetensors"))
    assert weights.stat().st_mode == config.stat().st_mode


def test_altered_weights_are_refused(random_model: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((random_model / name).read_bytes())
    data = bytearray((tmp_path / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match="is not the file"):
        Predictor.load(tmp_path)


def test_incomplete_folders_are_refused(random_model: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        Predictor.load(tmp_path)
    config = json.loads((random_model / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors"):
        Predictor.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"format": 99}))
    with pytest.raises(CheckpointError, match=r"/config.json: format is 99; accepted: 1"):
        load_config(tmp_path)
    del config["classes"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"/config.json: classes is missing"):
        load_config(tmp_path)
