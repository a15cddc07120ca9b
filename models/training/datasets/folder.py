"""People's own data: `images/`, `masks/` with the same file stems, and a `dataset.toml` that says what they mean."""

import csv
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

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
_CLASS_KEYS = {"name", "value", "color"}
_KINDS = {"masks": str, "instances": str, "group": str, "groups": str, "binary": bool, "classes": list, "splits": dict}


@dataclass(frozen=True)
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
        classes: The classes in the order of their labels, with the pixel values that mean each.
        splits: Split name to glob patterns of groups; what no pattern names is for training.
    """

    mpp: float | None = None
    masks: str = "masks"
    instances: str = ""
    binary: bool = False
    ignore: tuple[int, ...] = ()
    group: str = ""
    groups: str = ""
    classes: tuple[tuple[LabelClass, tuple[int, ...]], ...] = ()
    splits: tuple[tuple[str, tuple[str, ...]], ...] = ()


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
    layout = PairLayout(
        folder / "images",
        folder / masks if masks else None,
        folder / text.instances if text.instances else None,
        decode=_decoder(text, config.binary or text.binary),
        group=lambda stem: groups[stem],
        split=lambda group: splits.get(group, SPLITS[0]),
    )
    twice, notes = pair_faults(layout)
    classes = tuple(one for one, _ in text.classes)
    return DatasetIndex(text.mpp, classes, pair_records(layout), twice + problems + clashes, notes)


def read_description(path: Path) -> Description:
    """Read a `dataset.toml`; the defaults if there is none.

    Raises:
        ValueError: It is no TOML, or a key or value is not known, named with what is accepted.
    """
    if not path.is_file():
        return Description()
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not TOML: {error}") from error
    known = {field.name for field in fields(Description)}
    if unknown := sorted(set(raw) - known):
        raise ValueError(f"{path} has no key {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    try:
        return _description(raw)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def _description(raw: dict[str, Any]) -> Description:
    mpp = raw.get("mpp")
    if mpp is not None and (isinstance(mpp, bool) or not isinstance(mpp, int | float) or not mpp > 0):
        raise ValueError(f"mpp is {mpp!r}; a number above 0 is expected")
    for key, kind in _KINDS.items():
        if key in raw and not isinstance(raw[key], kind):
            raise TypeError(f"{key} is {raw[key]!r}; a {kind.__name__} is expected")
    if raw.get("group") and raw.get("groups"):
        raise ValueError("group and groups are both given; one says how images are grouped")
    if "group" in raw:
        _pattern(raw["group"])
    classes = tuple(_class(place, item) for place, item in enumerate(raw.get("classes", [])))
    values = [value for _, meant in classes for value in meant]
    if twice := sorted({value for value in values if values.count(value) > 1}):
        raise ValueError(f"pixel values {twice} mean more than one class")
    if raw.get("binary") and len(classes) not in (0, 2):
        raise ValueError(f"binary masks have 2 classes, {len(classes)} are given")
    parts = {"classes": classes, "splits": _split_patterns(raw.get("splits", {}))}
    return Description(**(raw | parts | {"ignore": _integers("ignore", raw.get("ignore", []))}))


def _class(place: int, item: dict[str, Any]) -> tuple[LabelClass, tuple[int, ...]]:
    if unknown := sorted(set(item) - _CLASS_KEYS):
        raise ValueError(f"a class has no {', '.join(unknown)}; it has {', '.join(sorted(_CLASS_KEYS))}")
    if "name" not in item:
        raise ValueError(f"class {place} has no name")
    color = item.get("color")
    if color is not None:
        color = _integers("color", color)
        if len(color) != 3 or not all(0 <= part <= 255 for part in color):
            raise ValueError(f"color of {item['name']} is {item['color']}; three numbers 0..255 are expected")
    return LabelClass(str(item["name"]), color), _integers("value", item.get("value", place))


def _integers(key: str, value: Any) -> tuple[int, ...]:
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(one, int) and not isinstance(one, bool) for one in values):
        raise ValueError(f"{key} is {value!r}; whole numbers are expected")
    return tuple(values)


def _split_patterns(raw: dict[str, Any]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    if unknown := sorted(set(raw) - set(SPLITS)):
        raise ValueError(f"splits has no {', '.join(unknown)}; known: {', '.join(SPLITS)}")
    for name, patterns in raw.items():
        if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
            raise ValueError(f"splits.{name} is {patterns!r}; a list of patterns of groups is expected")
    return tuple((name, tuple(patterns)) for name, patterns in raw.items())


def _decoder(text: Description, binary: bool) -> Callable[..., Any]:
    if binary:
        return above_zero
    if not text.classes:
        return _keep_but(text.ignore) if text.ignore else plain_labels
    table = {value: place for place, (_, values) in enumerate(text.classes) for value in values}
    return by_value({IGNORE: IGNORE} | dict.fromkeys(text.ignore, IGNORE) | table)


def _keep_but(ignore: tuple[int, ...]) -> Callable[..., Any]:
    """Return a decoder that keeps pixel values as labels, except for those that are not annotated."""

    def decode(raw: Any) -> Any:
        labels = raw.copy()
        for value in ignore:
            labels[raw == value] = IGNORE
        return labels

    return decode


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise ValueError(f"group {text!r} is no regular expression: {error}") from error


def _groups(folder: Path, text: Description, stems: list[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the group of every stem, and the stems that have none as problems."""
    if text.group:
        pattern = _pattern(text.group)
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
    for name, patterns in text.splits:
        for pattern in patterns:
            matched = sorted(group for group in groups if fnmatchcase(group, pattern))
            if not matched:
                problems.append(f"splits.{name}: pattern {pattern!r} names no group")
            problems += [
                f"group {g} is in two splits, {found[g]} and {name}" for g in matched if found.get(g, name) != name
            ]
            found |= dict.fromkeys(matched, name)
    return found, tuple(problems)
