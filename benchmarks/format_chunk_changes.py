"""Changes to which chunks a good OME-Zarr has, and to their bytes; see `format_zarr_changes`."""

from collections.abc import Callable

from benchmarks.format_zarr_changes import ZarrChange
from benchmarks.format_zarr_edit import ZarrEdit


def stored(level: int, arrange: Callable[[list[str]], list[str | None]]) -> ZarrChange:
    """Change which chunk stands where: for each place the key of the one that does, or None."""

    def changed(edit: ZarrEdit) -> bool | None:
        keys = list(edit.places(level))
        after = arrange(list(keys)) if len(keys) > 2 else keys
        if after == keys:
            return False
        contents = {key: edit.files.pop(key) for key in keys}
        edit.files |= {place: contents[key] for place, key in zip(keys, after, strict=True) if key is not None}
        return None

    return changed


def content(level: int, change: Callable[[bytes], bytes]) -> ZarrChange:
    """Change the bytes of the chunk in the middle."""

    def changed(edit: ZarrEdit) -> bool | None:
        keys = list(edit.places(level))
        if not keys:
            return False
        edit.files[keys[len(keys) // 2]] = change(edit.files[keys[len(keys) // 2]])
        return None

    return changed


def lost(keys: list[str]) -> list[str | None]:
    """Without the one in the middle."""
    at = len(keys) // 2
    return [*keys[:at], None, *keys[at + 1 :]]


def swapped(edit: ZarrEdit) -> bool | None:
    """In every channel and plane two neighbours in the middle change places."""
    places = edit.places(0)
    rows, cols = (max(index[axis] for index in places.values()) // 2 for axis in (-2, -1))
    keys = {index: key for key, index in places.items()}
    pairs = [(key, keys.get((*index[:-1], cols + 1))) for index, key in keys.items() if index[-2:] == (rows, cols)]
    for one, other in pairs:
        if other is not None:
            edit.files[one], edit.files[other] = edit.files[other], edit.files[one]
    return None if pairs and len(places) > 2 else False


def swapped_in_one(keys: list[str]) -> list[str | None]:
    at = len(keys) // 2
    return [*keys[: at - 1], keys[at], keys[at - 1], *keys[at + 1 :]]


def copied(keys: list[str]) -> list[str | None]:
    """The one in the middle stands in for its neighbour too."""
    at = len(keys) // 2
    return [*keys[: at + 1], keys[at], *keys[at + 2 :]]
