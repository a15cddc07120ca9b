"""People's own data: `images/`, `masks/` with the same file stems, and a `dataset.toml` that says what they mean."""

import csv
import re
from collections.abc import Callable
from dataclasses import field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field

from models.folder import Channel
from models.settings import check, read_toml, settings
from models.training.datasets.pairs import (
    IMAGE_SUFFIXES,
    PairLayout,
    above_zero,
    by_value,
    list_images,
    pair_faults,
    pair_records,
    plain_labels,
)
from models.training.datasets.records import SPLITS, DatasetIndex, LabelClass
from models.training.datasets.sample import IGNORE, DatasetConfig

DESCRIPTION: Final = "dataset.toml"


def _listed(value: Any) -> Any:
    """Take one number for a list of it."""
    return tuple(value) if isinstance(value, list) else (value,)


def _expression(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from error
    return text


Values = Annotated[tuple[int, ...], BeforeValidator(_listed)]
Patterns = tuple[str, ...]


@settings
class DescribedClass:
    """A class of `dataset.toml`.

    Attributes:
        name: Of the class.
        value: Pixel values that mean it; its place among the classes if not given.
        color: For people.
    """

    name: str
    value: Values | None = None
    color: tuple[Channel, Channel, Channel] | None = None


@settings
class SplitPatterns:
    """Glob patterns of the groups of each split."""

    train: Patterns = ()
    validation: Patterns = ()
    test: Patterns = ()


@settings
class Description:
    """`dataset.toml`, parsed.

    Attributes:
        mpp: µm per px.
        masks: Name of the masks folder; empty for images without masks.
        instances: Name of a folder of instance maps; empty for none.
        binary: Masks hold instance numbers; anything above 0 is class 1.
        ignore: Pixel values that are not annotated, besides 255.
        group: Regular expression on the file stem; its first group (or the whole match) is the group.
        groups: Name of a CSV file with the columns name (file stem) and group.
        classes: The classes in the order of their labels.
        splits: Patterns of groups; what no pattern names is for training.
    """

    mpp: Annotated[float, Field(gt=0)] | None = None
    masks: str = "masks"
    instances: str = ""
    binary: bool = False
    ignore: Values = ()
    group: Annotated[str, AfterValidator(_expression)] = ""
    groups: str = ""
    classes: tuple[DescribedClass, ...] = ()
    splits: SplitPatterns = field(default_factory=SplitPatterns)

    def __post_init__(self) -> None:
        if self.group and self.groups:
            raise ValueError("group and groups are both given; accepted: one, which says how images are grouped")
        values = [value for _, meant in self.meanings() for value in meant]
        if twice := sorted({value for value in values if values.count(value) > 1}):
            raise ValueError(f"classes: pixel values {twice} mean more than one; accepted: each value once")
        if self.binary and len(self.classes) not in (0, 2):
            raise ValueError(f"classes has {len(self.classes)}; accepted: 2, as masks are binary")

    def meanings(self) -> tuple[tuple[LabelClass, tuple[int, ...]], ...]:
        """Return the classes with the pixel values that mean each."""
        return tuple(
            (LabelClass(one.name, one.color), (place,) if one.value is None else one.value)
            for place, one in enumerate(self.classes)
        )


def index_folder(folder: Path, config: DatasetConfig) -> DatasetIndex:
    """Index a folder of images and masks; the dataset's settings win over those of `dataset.toml`.

    Raises:
        FileNotFoundError: There is no image, or a file that `dataset.toml` names is not there.
        ValueError: `dataset.toml` is wrong, named with what is accepted.
    """
    text = read_description(folder / DESCRIPTION)
    masks = text.masks if config.masks == "masks" else config.masks
    stems = [path.stem for path in list_images(folder / "images")]
    groups, problems = _groups(folder, text, stems)
    splits, clashes = _splits(text, set(groups.values()))
    binary = config.binary or text.binary
    instances = text.instances or (masks if binary else "")
    layout = PairLayout(
        folder / "images",
        folder / masks if masks else None,
        folder / instances if instances else None,
        decode=_decoder(text, binary),
        group=lambda stem: groups[stem],
        split=lambda group: splits.get(group, SPLITS[0]),
    )
    twice, notes = pair_faults(layout)
    classes = tuple(one for one, _ in text.meanings())
    return DatasetIndex(text.mpp, classes, pair_records(layout), twice + problems + clashes, notes)


def read_description(path: Path) -> Description:
    """Read a `dataset.toml`; the defaults if there is none.

    Raises:
        SettingsError: It is no TOML, or a key or value is not known; a line for each fault, with what is accepted.
    """
    return check(Description, read_toml(path, str(path)), str(path)) if path.is_file() else Description()


def _decoder(text: Description, binary: bool) -> Callable[..., Any]:
    if binary:
        return above_zero
    if not text.classes:
        return _keep_but(text.ignore) if text.ignore else plain_labels
    table = {value: place for place, (_, values) in enumerate(text.meanings()) for value in values}
    return by_value({IGNORE: IGNORE} | dict.fromkeys(text.ignore, IGNORE) | table)


def _keep_but(ignore: tuple[int, ...]) -> Callable[..., Any]:
    """Return a decoder that keeps pixel values as labels, except for those that are not annotated."""

    def decode(raw: Any) -> Any:
        labels = raw.copy()
        for value in ignore:
            labels[raw == value] = IGNORE
        return labels

    return decode


def _groups(folder: Path, text: Description, stems: list[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the group of every stem, and the stems that have none as problems."""
    if text.group:
        pattern = re.compile(text.group)
        found = {stem: match for stem in stems if (match := pattern.search(stem))}
        named = {stem: _group_of(match) for stem, match in found.items()}
        reason = f"does not match group = {text.group!r}"
    elif text.groups:
        path = folder / text.groups
        if not path.is_file():
            raise FileNotFoundError(f"{DESCRIPTION} names groups = {text.groups!r}; there is no {path}")
        named, reason = _group_table(path), f"is not in {text.groups}"
    else:
        return {stem: stem for stem in stems}, ()
    lost = tuple(f"image {stem} {reason}" for stem in stems if not named.get(stem))
    return {stem: named.get(stem) or stem for stem in stems}, lost


def _group_of(match: re.Match[str]) -> str:
    group: str | None = match.group(1) if match.re.groups else match.group()
    return group or ""


def _group_table(path: Path) -> dict[str, str]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        if not {"name", "group"} <= set(rows.fieldnames or ()):
            raise ValueError(f"{path} has the columns {rows.fieldnames}; name and group are expected")
        return {_stem_of(row["name"]): row["group"] for row in rows}


def _stem_of(name: str) -> str:
    """Return a file's stem; a name without a known suffix is a stem already, whatever dots it has."""
    path = Path(name)
    return path.stem if path.suffix.lower() in IMAGE_SUFFIXES else name


def _splits(text: Description, groups: set[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the split of every group that a pattern names, and groups named twice or patterns without one."""
    found: dict[str, str] = {}
    problems: list[str] = []
    for name in SPLITS:
        for pattern in getattr(text.splits, name):
            matched = sorted(group for group in groups if fnmatchcase(group, pattern))
            if not matched:
                problems.append(f"splits.{name}: pattern {pattern!r} names no group")
            problems += [
                f"group {g} is in two splits, {found[g]} and {name}" for g in matched if found.get(g, name) != name
            ]
            found |= dict.fromkeys(matched, name)
    return found, tuple(problems)
