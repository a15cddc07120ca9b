"""bfloat16: near to float32 and not the same, and float32 to the bit where a part is kept in it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from models import checkpoint
from models.engine.precision import computing, keep_full
from models.folder import Half, Precision
from models.predictor import Predictor

TILES = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
ORIGINS = [(0, 0), (-64, 128)]


@pytest.fixture
def predictor(random_model: Path) -> Predictor:
    return Predictor.load(random_model, "cpu")


def logits(predictor: Predictor, precision: Precision) -> NDArray[np.float32]:
    answer = predictor.logits(TILES, ORIGINS, 0, precision)
    assert answer.dtype == torch.float32
    return answer.numpy()


def test_bfloat16_is_near_to_float32_and_not_the_same(predictor: Predictor) -> None:
    full, half = logits(predictor, "float32"), logits(predictor, "bfloat16")
    assert 0 < np.abs(half - full).max() < 0.1 * np.abs(full).max()
    assert np.array_equal(logits(predictor, "float32"), full)  # nothing of the model was changed for good


def test_a_model_all_of_whose_parts_are_kept_answers_as_in_float32(predictor: Predictor) -> None:
    full = logits(predictor, "float32")
    keep_full(predictor.model, ["segmenter.stem"])
    partly = logits(predictor, "bfloat16")
    assert not np.array_equal(partly, full)
    keep_full(predictor.model, ["encoder", "unet", "decoder", "segmenter"])
    np.testing.assert_allclose(logits(predictor, "bfloat16"), full, atol=2e-2)  # what joins the parts is rounded still
    assert np.abs(logits(predictor, "bfloat16") - full).mean() < np.abs(partly - full).mean() / 2
    np.testing.assert_array_equal(logits(predictor, "float32"), full)


def test_a_part_that_is_kept_gets_and_gives_float32() -> None:
    seen: list[Tensor] = []
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(4, 4, 3), torch.nn.Conv2d(4, 2, 1))
    keep_full(net, ["1"])
    x = torch.rand(1, 3, 16, 16)
    hooks: list[Callable[..., None]] = [lambda _, given, gave: seen.extend((given[0], gave))]
    for module in net:
        module.register_forward_hook(hooks[0])
    with torch.inference_mode(), computing("bfloat16", x.device):
        net(x)
    assert [each.dtype for each in seen[1::2]] == [torch.bfloat16, torch.float32, torch.bfloat16]
    first = seen[2].float()  # what the kept part was given
    with torch.inference_mode():
        torch.testing.assert_close(seen[3], net[1](first))  # no autocast around it here


def test_a_part_that_is_not_there_is_told(predictor: Predictor) -> None:
    with pytest.raises(ValueError, match=r"no part 'head'; parts it has: .*segmenter"):
        keep_full(predictor.model, ["head"])


def test_a_folder_keeps_what_is_known_of_it(random_model: Path, tmp_path: Path) -> None:
    model, spec, digest = checkpoint.load(random_model)
    assert '"half"' not in (random_model / "config.json").read_text()
    half = Half(("segmenter.stem",), 0.9999)
    checkpoint.save(tmp_path / spec.name, model, replace(spec, half=half))
    again = Predictor.load(tmp_path / spec.name, "cpu")
    assert again.spec.half == half
    assert again.digest != digest


def test_where_nothing_is_known_of_a_part_the_folder_is_refused(random_model: Path, tmp_path: Path) -> None:
    model, spec, _ = checkpoint.load(random_model)
    checkpoint.save(tmp_path / spec.name, model, replace(spec, half=Half(("nose",), 1.0)))
    with pytest.raises(ValueError, match="no part 'nose'"):
        Predictor.load(tmp_path / spec.name, "cpu")
