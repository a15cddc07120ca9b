"""Objects of an evaluation: which are the reference's, who tells the found ones apart, how many."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from threshold_segmenter import NAMES, Numbered, Thresholds

from models.config import ObjectConfig
from models.training.crops.data import Sample
from models.training.evaluation.bootstrap import intervals_of_images
from models.training.evaluation.evaluate import LDiffusionSegmenter, measure, segment_sample
from models.training.evaluation.instances import count_figures
from models.training.evaluation.report import text
from models.training.evaluation.splitting import class_objects
from models.training.evaluation.summary import Measured, ObjectCounts, Setting, summarise


def test_what_is_not_annotated_has_no_objects() -> None:
    image, labels = np.full((20, 20, 3), 40, np.uint8), np.full((20, 20), 255, np.uint8)
    hidden = Sample("x", image, labels, 0.5, instances=np.ones((20, 20), np.int32))
    for segmenter in (Thresholds(), Numbered()):
        found = measure(segmenter, [hidden]).objects
        assert found is not None
        assert not found.counts.any()


def test_the_masks_of_two_classes_have_components_for_objects() -> None:
    """A dark bar of 8 x 20 px at 0.5 µm/px, and a speck of 1 px: one object of 40 µm², which the answer halves."""
    image, labels = np.full((20, 20, 3), 255, np.uint8), np.zeros((20, 20), np.uint8)
    labels[4:12], labels[18, 3] = 1, 1
    image[labels > 0] = 40
    bar = Sample("x", image, labels, 0.5)
    found = measure(Numbered(), [bar]).objects
    assert found is not None
    assert (found.references, found.split_by) == (("components",), "model")
    assert found.counts.tolist() == [[80, 160 + 81, 0, 0, 2, 1]]  # the speck is no object, and the other half has it
    numbered = replace(bar, instances=np.where(labels > 0, np.arange(20) // 10 + 1, 0).astype(np.int32))
    both = measure(Numbered(), [bar, numbered])
    assert both.objects is not None
    assert both.objects.references == ("components", "instances")
    assert both.objects.counts[1, 2:].tolist() == [2, 2, 0, 0]
    page = text(summarise(Setting("numbered", "", "made", NAMES[:2], resamples=0), both))
    assert "annotated one by one (1 images), components of the annotated mask (1 images)\n" in page


def test_object_numbers_come_back_on_the_annotation_grid() -> None:
    image = np.full((30, 30, 3), 40, np.uint8)
    answer = segment_sample(Numbered(mpp=1.0), Sample("x", image, image[..., 0], 0.5))
    assert answer.objects is not None
    assert answer.objects.shape == (30, 30)
    assert np.unique(answer.objects).tolist() == [3, 7]
    assert (answer.objects[:, :13] == 7).all()
    assert (answer.objects[:, 15:] == 3).all()


def test_a_model_with_an_interior_map_tells_objects_apart_on_its_own_grid() -> None:
    """A predictor of two classes whose interior map is a picture's green, and whose labels are its red."""
    image = np.zeros((21, 30, 3), np.uint8)
    image[3:18, 2:28, 0] = 1
    image[5:16, 4:13, 1] = image[5:16, 16:26, 1] = 255
    image[19, 29, 0] = 1  # of 0.25 µm²

    def logits(images: NDArray[np.uint8], *_: Any) -> NDArray[np.uint8]:
        return images

    def planes(images: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
        return images[..., 0], images[..., 2], images[..., 1]

    spec = SimpleNamespace(objects=ObjectConfig(smallest_um2=1.0))
    predictor: Any = SimpleNamespace(stride_px=16, halo_px=16, mpp=0.5, spec=spec, logits=logits, planes=planes)
    answer = LDiffusionSegmenter(predictor)(image)
    expected = class_objects(image[..., 0], image[..., 1], 0.5, spec.objects)
    assert expected.max() == 2
    np.testing.assert_array_equal(answer.objects, expected)
    np.testing.assert_array_equal(answer.labels, image[..., 0])
    assert LDiffusionSegmenter(predictor, objects=False)(image).objects is None


def test_the_count_error_and_its_interval_are_of_the_images_one_by_one() -> None:
    found = np.array([30, 22, 60, 21, 44, 25])
    counts = np.stack([*np.ones((3, 6)), np.full(6, 20), found - 20, np.zeros(6)], axis=1)
    patients = ("a", "a", "b", "b", "c", "c")
    blank = np.zeros((6, 2, 2), np.int64)
    measured = Measured(tuple("012345"), patients, blank, ObjectCounts(counts, ("components",) * 6, "model"))
    one, path = Setting("x", "", "made", NAMES[:2], resamples=30), ("instances", "count_error")
    for setting, units in ((one, np.arange(6)), (replace(one, unit="group"), np.array([0, 0, 1, 1, 2, 2]))):
        evaluation = summarise(setting, measured)
        assert evaluation.figures[path] == pytest.approx(np.median((found - 20) / 20))
        assert evaluation.intervals[path] == intervals_of_images(counts, count_figures, units, 30, 0)[path]
        assert evaluation.intervals[path].low < evaluation.intervals[path].high
    assert "\ncount error" in text(summarise(one, measured))
    assert "6 images with 20 objects or more" in text(summarise(one, measured))
