"""Laws of components: the majority reduction against a literal loop, and the look-up of each pixel's law."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from small_network import SMALL

from models.config import LDiffusionConfig, ScheduleConfig
from models.training.components import component_law, majority

LABELS = npst.arrays(np.int64, (2, 8, 12), elements=st.sampled_from([0, 1, 2, 255]))


@given(labels=LABELS, stride=st.sampled_from([1, 2, 4]))
def test_majority_is_that_of_counting_each_block(labels: NDArray[np.int64], stride: int) -> None:
    reduced = majority(torch.from_numpy(labels), stride, num_classes=3)
    assert reduced.shape == (2, 8 // stride, 12 // stride)
    for n, i, j in np.ndindex(*reduced.shape):
        block = labels[n, i * stride : (i + 1) * stride, j * stride : (j + 1) * stride].ravel().tolist()
        counts = Counter(block)
        # 255 is the largest number, so the order of ties is that of numbers.
        assert reduced[n, i, j].item() == min(counts, key=lambda value: (-counts[value], value))


def test_every_latent_pixel_gets_the_law_of_its_component_and_unknown_ones_the_shared_one() -> None:
    labels = torch.tensor([[0, 1, 2, 255]]).repeat_interleave(4, dim=1).repeat(4, 1)[None]
    schedule = ScheduleConfig(component_gammas=(1.5, 0.5, 0.25), component_scales=(2.0, 3.0, 4.0))
    config = LDiffusionConfig(num_classes=3, network=SMALL, schedule=schedule)
    law = component_law(config, labels)
    assert law is not None
    assert law.gamma.tolist() == [[[[1.5, 0.5, 0.25, 1.0]]]]
    assert law.scale.tolist() == [[[[2.0, 3.0, 4.0, 1.0]]]]
    only = component_law(replace(config, schedule=replace(schedule, component_scales=())), labels)
    assert only is not None
    assert only.scale.eq(1).all()
    assert component_law(LDiffusionConfig(num_classes=3, network=SMALL), labels) is None


def test_a_label_the_model_does_not_know_is_no_component() -> None:
    with pytest.raises(RuntimeError, match="smaller than num_classes"):
        majority(torch.full((1, 4, 4), 7), 4, num_classes=3)
