"""Which images of a dataset are used, which are held out, and which keep their labels."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from models.training.datasets.records import SPLITS, Record
from models.training.datasets.sample import DatasetConfig

_ALL = "all"


@dataclass(frozen=True)
class Choice:
    """A record, whether it is for validation, and whether its labels are used."""

    record: Record
    held_out: bool
    annotated: bool


def choose(records: Sequence[Record], config: DatasetConfig) -> list[Choice]:
    """Return the chosen records in their order.

    Validation takes whole groups: an image chosen by name whose group also has training images is an error, because a
    model that saw a patient in training is not tested on that patient.

    Raises:
        ValueError: The split is not known or empty, a validation pattern names nothing, or a group is cut.
    """
    chosen = [record for record in records if _in_split(record, config)]
    if not chosen:
        raise ValueError(f"dataset {config.root} has no image in the split {config.split or 'train'}")
    held_out = {record.name for record in chosen if _held_out(record, config)}
    _check_patterns(chosen, config)
    _check_groups(chosen, held_out, config)
    free = [r.name for r in chosen if r.name not in held_out]
    if config.annotated_images > len(free):
        raise ValueError(
            f"dataset {config.root}: annotated_images is {config.annotated_images}; it has {len(free)} to train on"
        )
    fraction = config.annotated_images / len(free) if config.annotated_images else config.annotated
    learned = annotated_names(free, fraction, config.annotated_seed)
    return [Choice(r, r.name in held_out, r.name in held_out or r.name in learned) for r in chosen]


def annotated_names(names: Sequence[str], fraction: float, seed: int) -> set[str]:
    """Return the names whose labels are used: `fraction` of them, at least one.

    The names are put in an order that depends on the seed and on each name alone, and the first are taken. So for one
    seed the smaller fraction is a subset of the larger one.
    """
    order = sorted(names, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    return set(order[: max(1, round(fraction * len(order)))])


def _in_split(record: Record, config: DatasetConfig) -> bool:
    if config.split not in ("", _ALL, *SPLITS):
        raise ValueError(f"dataset {config.root}: unknown split {config.split!r}; known: {', '.join((*SPLITS, _ALL))}")
    if not config.split:
        return record.split != "test"
    return config.split in (_ALL, record.split)


def _held_out(record: Record, config: DatasetConfig) -> bool:
    by_split = not config.split and record.split == "validation"
    by_name = any(fnmatchcase(record.name, pattern) for pattern in config.validation)
    return by_split or by_name or any(fnmatchcase(record.group, pattern) for pattern in config.validation_groups)


def _check_patterns(chosen: Sequence[Record], config: DatasetConfig) -> None:
    names, groups = {record.name for record in chosen}, {record.group for record in chosen}
    for key, patterns, known in (
        ("validation", config.validation, names),
        ("validation_groups", config.validation_groups, groups),
    ):
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in known):
                some = ", ".join(sorted(known)[:5])
                raise ValueError(f"dataset {config.root}: {key} {pattern!r} names nothing; there are {some}, …")


def _check_groups(chosen: Sequence[Record], held_out: set[str], config: DatasetConfig) -> None:
    kept = {record.group for record in chosen if record.name not in held_out}
    cut = sorted({record.group for record in chosen if record.name in held_out} & kept)
    if cut:
        raise ValueError(
            f"dataset {config.root}: validation cuts the groups {', '.join(cut[:5])}, which have training images too; "
            "hold out whole groups with validation_groups"
        )
