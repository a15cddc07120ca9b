"""What the step sequence of the shipped default adds: its answer is another without it."""

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.sequence import WAYS, ZOO, dice, look, taken_out
from models.predictor import Predictor
from models.training.crops.data import DatasetConfig, load_dataset
from models.training.evaluation.evaluate import evaluate
from models.training.evaluation.metrics import scores
from workers.core.schemas import JobRequest

DEFAULT = str(JobRequest.model_fields["model"].default)


def test_labels_of_the_default_change_without_noise_and_unet(
    shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predictor = Predictor.load(ZOO / DEFAULT, "cpu")
    samples = load_dataset(DatasetConfig("tnbc/test", 0.25), shared_data, 2)[:3]
    own, without, nothing = look(predictor, samples).values()
    shares = [float(np.mean(each.changed)) for each in (own, without, nothing)]
    with capsys.disabled():
        sys.stdout.write(f"\nlabels of {DEFAULT} that change: {shares[1]:.2%} without noise and U-Net, {shares[2]:.2%}")
        sys.stdout.write(" with nothing in their place\n")
    assert shares[0] == 0
    assert shares[1] > 0.001
    assert shares[2] > shares[1]
    assert dice(own.confusion) == pytest.approx(scores(evaluate(predictor, samples)).dice[1])


def test_the_sequence_is_back_afterwards() -> None:
    predictor = Predictor.load(ZOO / DEFAULT, "cpu")
    image = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    whole = predictor.logits(image, [(0, 0)], 0)
    with taken_out(predictor, WAYS[1]):
        assert not predictor.logits(image, [(0, 0)], 0).equal(whole)
    assert predictor.logits(image, [(0, 0)], 0).equal(whole)


def test_a_model_of_the_image_alone_has_nothing_to_take_out() -> None:
    predictor = Predictor.load(ZOO / f"{DEFAULT}-fast", "cpu")
    with pytest.raises(ValueError, match="no step sequence"), taken_out(predictor, WAYS[0]):
        pass
