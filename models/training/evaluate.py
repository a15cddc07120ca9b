"""Evaluate a model on a dataset folder: `python -m models.training.evaluate MODEL DATASET --mpp 0.25`.

Protocol: each image is resampled to the model's mpp, continued past its edges by its mirror image (it was cut from
tissue), segmented in one piece with the shipped noise field, and the label map is scaled back (nearest) to the
annotation's grid, where it is compared with the annotation as it is. One confusion matrix over all images.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.predictor import Predictor
from models.training.data import DatasetConfig, Sample, load_dataset, resize_image, working_size
from models.training.metrics import Scores, confusion_matrix, scores


def segment_image(predictor: Predictor, image: NDArray[np.uint8], seed: int = 0) -> NDArray[np.uint8]:
    """Segment one image at the model's mpp: (H, W, 3) → (H, W), with a mirrored halo around it."""
    height, width = image.shape[:2]
    stride, halo = predictor.stride_px, predictor.halo_px
    rows, cols = ((halo, halo + -length % stride) for length in (height, width))
    padded = np.pad(image, (rows, cols, (0, 0)), mode="reflect")
    labels, _ = predictor.predict(padded[None], [(-halo, -halo)], seed)
    return labels[0, halo : halo + height, halo : halo + width]


def segment_sample(predictor: Predictor, sample: Sample, seed: int = 0) -> NDArray[np.uint8]:
    """Segment a sample and return labels on its own grid, the annotation's."""
    width, height = working_size(sample, predictor.mpp)
    labels = segment_image(predictor, resize_image(sample.image, width, height), seed)
    rows = (np.arange(sample.labels.shape[0]) * height) // sample.labels.shape[0]
    cols = (np.arange(sample.labels.shape[1]) * width) // sample.labels.shape[1]
    return labels[np.ix_(rows, cols)]


def evaluate(predictor: Predictor, samples: list[Sample], seed: int = 0) -> NDArray[np.int64]:
    """Return the confusion matrix over all samples."""
    classes = len(predictor.classes)
    total = np.zeros((classes, classes), np.int64)
    for sample in samples:
        total += confusion_matrix(sample.labels, segment_sample(predictor, sample, seed), classes)
    return total


def report(predictor: Predictor, confusion: NDArray[np.int64], result: Scores) -> str:
    """Return a table for people."""
    lines = [f"{'class':<16}{'Dice':>8}{'IoU':>8}{'acc.':>8}{'pixels':>12}"]
    for c in predictor.classes:
        row = f"{c.name:<16}{result.dice[c.index]:>8.4f}{result.iou[c.index]:>8.4f}{result.accuracy[c.index]:>8.4f}"
        lines.append(row + f"{int(confusion[c.index].sum()):>12}")
    lines.append(f"DICE {result.mean_dice:.4f}  MPA {result.mpa:.4f}  mIoU {result.miou:.4f}  FwIoU {result.fwiou:.4f}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Parse, evaluate, print a table and one JSON line."""
    parser = argparse.ArgumentParser(prog="ldiffusion evaluate", description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="model folder")
    parser.add_argument("dataset", type=Path, help="folder with images/ and a masks folder")
    parser.add_argument("--mpp", type=float, required=True, help="µm per px of the dataset's images")
    parser.add_argument("--masks", default="masks", help="name of the masks folder")
    parser.add_argument("--binary", action="store_true", help="masks hold instance numbers: above 0 is class 1")
    parser.add_argument("--seed", type=int, default=0, help="seed of the noise field")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    args = parser.parse_args(argv)
    config = DatasetConfig(args.dataset.name, args.mpp, args.masks, args.binary)
    try:
        predictor = Predictor.load(args.model, args.device)
        samples = load_dataset(config, args.dataset.parent, len(predictor.classes))
    except (FileNotFoundError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    confusion = evaluate(predictor, samples, args.seed)
    result = scores(confusion)
    sys.stdout.write(f"{predictor.spec.name} on {len(samples)} images of {args.dataset.name}\n")
    sys.stdout.write(report(predictor, confusion, result) + "\n")
    dice = {c.name: result.dice[c.index] for c in predictor.classes}
    line = {"dice": dice, "mpa": result.mpa, "miou": result.miou, "fwiou": result.fwiou}
    sys.stdout.write(json.dumps(line | {"confusion": confusion.tolist()}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
