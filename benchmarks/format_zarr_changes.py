"""Changes to a good OME-Zarr: what the kinds of mutants are put together from; see `format_changes`."""

import json
from collections.abc import Callable
from typing import Any

from benchmarks.format_zarr_edit import ZarrEdit

DYES = ["DAPI", "FITC", "Cy5"]

ZarrChange = Callable[[ZarrEdit], bool | None]
"""Makes a mutant; False where it does not apply."""


def ome(change: Callable[[Any], bool | None]) -> ZarrChange:
    """Change what NGFF says of the image that is read."""

    def changed(edit: ZarrEdit) -> bool | None:
        content = edit.json(edit.group)
        done = change(edit.ome(content))
        edit.put(edit.group, content)
        return done

    return changed


def datasets(change: Callable[[list[Any]], list[Any]]) -> ZarrChange:
    """Change the list of levels; what stays as it was is no mutant."""

    def changed(said: Any) -> bool | None:
        before = json.dumps(said["multiscales"][0]["datasets"])
        after = change(said["multiscales"][0]["datasets"])
        said["multiscales"][0]["datasets"] = after
        return False if json.dumps(after) == before else None

    return ome(changed)


def scales(x: float, y: float, levels: Callable[[int], bool] = lambda _: True) -> ZarrChange:
    """Multiply the scale of some levels; y and x are the last axes."""

    def change(found: list[Any]) -> list[Any]:
        for number, each in enumerate(found):
            scale = each["coordinateTransformations"][0]["scale"]
            if levels(number):
                scale[-2:] = [scale[-2] * y, scale[-1] * x]
        return found

    return only(lambda edit: edit.axes().endswith("yx"), datasets(change))


def scale_is(value: Any) -> ZarrChange:
    """Have level 0 say another thing for its scale."""

    def change(found: list[Any]) -> list[Any]:
        found[0]["coordinateTransformations"] = value
        return found

    return datasets(change)


def axes(change: Callable[[list[Any]], list[Any]]) -> ZarrChange:
    """Change the list of axes."""

    def changed(said: Any) -> bool | None:
        before = json.dumps(said["multiscales"][0]["axes"])
        said["multiscales"][0]["axes"] = change(said["multiscales"][0]["axes"])
        return False if json.dumps(said["multiscales"][0]["axes"]) == before else None

    return ome(changed)


def unit(value: str | None) -> ZarrChange:
    """Give y and x another unit, or none."""

    def change(found: list[Any]) -> list[Any]:
        return [each if each["name"] not in "yx" else {**each, "unit": value} for each in found]

    return axes(change)


def array(change: Callable[[Any], Any], *levels: int) -> ZarrChange:
    """Change the metadata of some levels."""

    def changed(edit: ZarrEdit) -> bool | None:
        keys = [edit.array(level) for level in levels if edit.array(level) in edit.files]
        before = [edit.files[key] for key in keys]
        for key in keys:
            content = edit.json(key)
            if change(content) is False:
                return False
            edit.put(key, content)
        is_same = all(edit.json(key) == json.loads(old) for key, old in zip(keys, before, strict=True))
        return False if is_same else None

    return changed


def shape(by_y: int, by_x: int, *levels: int) -> ZarrChange:
    """Make a level larger or smaller; y and x are the last axes."""

    def change(content: Any) -> None:
        content["shape"][-2:] = [content["shape"][-2] + by_y, content["shape"][-1] + by_x]

    return only(lambda edit: edit.axes().endswith("yx"), array(change, *levels))


def text(change: Callable[[bytes], bytes], *, of_array: bool = False) -> ZarrChange:
    """Change the metadata as they are written."""

    def changed(edit: ZarrEdit) -> bool | None:
        key = edit.array(0) if of_array else edit.group
        after = change(edit.files[key])
        if after == edit.files[key]:
            return False
        edit.files[key] = after
        return None

    return changed


def only(condition: Callable[[ZarrEdit], bool], change: ZarrChange) -> ZarrChange:
    return lambda edit: change(edit) if condition(edit) else False


def has_levels(edit: ZarrEdit) -> bool:
    """Whether level 0 is not all there is."""
    return edit.levels() > 1


def has_no_levels(edit: ZarrEdit) -> bool:
    return not has_levels(edit)


def is_not_sharded(edit: ZarrEdit) -> bool:
    """Whether a file holds one chunk."""
    return b"sharding_indexed" not in edit.files[edit.array(0)]


def has_channels(edit: ZarrEdit) -> bool:
    """Whether there are three channels, in chunks of their own."""
    return edit.axes() == "cyx" and len(edit.places(0)) % 3 == 0


def codec(name: str) -> ZarrChange:
    def change(content: Any) -> bool | None:
        if content["zarr_format"] == 2:
            content["compressor"] = None if name == "none" else {"id": name, "level": 1}
        else:
            first = content["codecs"][0]
            if first["name"] == "sharding_indexed":
                return False
            content["codecs"] = [first] if name == "none" else [first, {"name": name, "configuration": {"level": 1}}]
        return None

    return array(change, 0)


def set_field(field_2: str, field_3: str, value: Any) -> ZarrChange:
    def change(content: Any) -> None:
        content[field_2 if content["zarr_format"] == 2 else field_3] = value

    return array(change, 0, 1, 2)


def chunk_sides(by: float, *levels: int) -> ZarrChange:
    def change(content: Any) -> bool | None:
        if content["zarr_format"] == 2:
            found = content["chunks"]
        elif content["codecs"][0]["name"] == "sharding_indexed":
            found = content["codecs"][0]["configuration"]["chunk_shape"]
        else:
            found = content["chunk_grid"]["configuration"]["chunk_shape"]
        found[-1] = int(found[-1] * by)
        return None

    return only(lambda edit: edit.axes().endswith("yx"), array(change, *levels))


def separator(content: Any) -> None:
    if content["zarr_format"] == 2:
        content["dimension_separator"] = "."
    else:
        content["chunk_key_encoding"]["configuration"] = {"separator": "."}


def sharding(content: Any, **values: Any) -> bool | None:
    if content["zarr_format"] == 2 or content["codecs"][0]["name"] != "sharding_indexed":
        return False
    content["codecs"][0]["configuration"].update(values)
    return None


def channels(count: int, *levels: int) -> ZarrChange:
    def change(content: Any) -> None:
        content["shape"][0] = count

    return only(has_channels, array(change, *levels))


def array_gone(level: int) -> ZarrChange:
    def change(edit: ZarrEdit) -> bool | None:
        return False if edit.files.pop(edit.array(level), None) is None or edit.levels() < 1 else None

    return only(has_levels, change)


def path_of(number: int, path: str) -> ZarrChange:
    def change(found: list[Any]) -> list[Any]:
        if len(found) > number:
            found[number]["path"] = path
        return found

    return datasets(change)


def translated(found: list[Any]) -> list[Any]:
    for each in found[1:2]:
        scale = each["coordinateTransformations"][0]["scale"]
        each["coordinateTransformations"].append({"type": "translation", "translation": [64 * size for size in scale]})
    return found


def renamed(names: str) -> ZarrChange:
    return only(
        lambda edit: len(edit.axes()) == len(names),
        axes(lambda found: [{**each, "name": name} for each, name in zip(found, names, strict=True)]),
    )


def version(value: str | None) -> ZarrChange:
    def change(said: Any) -> None:
        said.get("multiscales", [said])[0].pop("version", None)
        said.pop("version", None)
        if value is not None:
            said["version"] = said["multiscales"][0]["version"] = value

    return ome(change)


def dyed(said: Any) -> bool | None:
    if len(said["multiscales"][0]["axes"]) != 3 or said["multiscales"][0]["axes"][0]["name"] != "c":
        return False
    said["omero"] = {"channels": [{"label": name} for name in DYES]}
    return None


def swapped_shape(content: Any) -> None:
    content["shape"][-2:] = content["shape"][-1:] + content["shape"][-2:-1]


def as_written(change: Any) -> ZarrChange:
    def remember(edit: ZarrEdit) -> None:
        edit.last = change

    return remember
