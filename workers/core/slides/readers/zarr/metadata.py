"""What the JSON of a Zarr says of its groups and arrays, in version 2 and version 3 alike.

Strictly parsed and bounded: it is a stranger's. What is said here is not yet understood: see `array`.
"""

import json
from math import prod
from typing import Annotated, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from workers.core.errors.base import SlideUnreadable
from workers.core.slides.readers.zarr.codecs import BYTES, SHARDING, Spec
from workers.core.slides.readers.zarr.entries import Entries

MAX_JSON_BYTES = 4 * 2**20
MAX_AXES = 5

Length = Annotated[int, Field(ge=1, le=2**40)]
Lengths = Annotated[tuple[Length, ...], Field(min_length=2, max_length=MAX_AXES)]
Text = Annotated[str, Field(max_length=2000)]


class Said(BaseModel):
    """A part of a stranger's JSON: what is not asked for is passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class Named(Said):
    """An extension of version 3."""

    name: Text
    configuration: dict[str, JsonValue] | None = None

    @property
    def spec(self) -> Spec:
        """Name and configuration."""
        return self.name, dict(self.configuration or {})


class _Array2(Said):
    zarr_format: Literal[2]
    shape: Lengths
    chunks: Lengths
    dtype: JsonValue
    compressor: dict[str, JsonValue] | None = None
    filters: tuple[dict[str, JsonValue], ...] | None = None
    order: Literal["C", "F"] = "C"
    fill_value: JsonValue = None
    dimension_separator: Literal[".", "/"] = "."


class _Array3(Said):
    zarr_format: Literal[3]
    node_type: Literal["array"]
    shape: Lengths
    data_type: JsonValue
    chunk_grid: Named
    chunk_key_encoding: Named
    codecs: tuple[Named | Text, ...]
    fill_value: JsonValue = None
    storage_transformers: tuple[JsonValue, ...] = ()


class _Grid(Said):
    chunk_shape: Lengths


class _Separator(Said):
    separator: Literal[".", "/"] | None = None


class ArraySaid(NamedTuple):
    """An array as its metadata describe it.

    Attributes:
        path: Its key in the Zarr.
        shape: Of the array.
        stored: Shape of what one file holds: a chunk, or a shard of several.
        data_type: As it stands there.
        codecs: In the order in which they were done.
        fill: Value of what is not stored, None if it is not said.
        order: `F`: the first axis varies fastest within a chunk.
        prefix: What the keys of its chunks begin with.
        separator: What stands between the indices in them.
    """

    path: str
    shape: tuple[int, ...]
    stored: tuple[int, ...]
    data_type: str
    codecs: tuple[Spec, ...]
    fill: object
    order: Literal["C", "F"]
    prefix: str
    separator: str

    def key(self, index: tuple[int, ...]) -> str:
        """Return the key of a chunk or shard."""
        return self.prefix + self.separator.join(map(str, index))

    @property
    def chunk(self) -> tuple[int, ...]:
        """Shape of what is decoded at once: of shards, the chunks within."""
        if len(self.codecs) == 1 and self.codecs[0][0] == SHARDING:
            return parsed(_Grid, dict(self.codecs[0][1]), self.path).chunk_shape
        return self.stored

    @property
    def chunks(self) -> int:
        """How many chunks the array has."""
        return prod(-(-length // side) for length, side in zip(self.shape, self.chunk, strict=True))


T = TypeVar("T", bound=BaseModel)


def parsed(kind: type[T], content: bytes | dict[str, object], where: str) -> T:
    """Return a stranger's JSON as what it has to be.

    Raises:
        SlideUnreadable: It is something else.
    """
    try:
        return kind.model_validate_json(content if isinstance(content, bytes) else json.dumps(content))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise SlideUnreadable(
            "The metadata of this OME-Zarr make no sense.", value=ascii(f"{where}: {place}: {first['msg']}"[:200])
        ) from error


def read_json(entries: Entries, key: str) -> bytes | None:
    """Return a file of metadata, None if it is not there.

    Raises:
        SlideUnreadable: It is too large, or damaged.
    """
    try:
        return entries.read(key, MAX_JSON_BYTES)
    except (ValueError, OSError) as error:
        raise SlideUnreadable(
            "The metadata of this OME-Zarr are damaged or too large.",
            value=ascii(key[:200]),
            accepted=f"at most {MAX_JSON_BYTES} bytes",
        ) from error


def array_of(entries: Entries, path: str) -> ArraySaid | None:
    """Return what is said of an array, None if there is none.

    Raises:
        SlideUnreadable: It makes no sense.
    """
    if (content := read_json(entries, f"{path}/zarr.json")) is not None:
        return _version_3(parsed(_Array3, content, f"{path}/zarr.json"), path)
    if (content := read_json(entries, f"{path}/.zarray")) is not None:
        return _version_2(parsed(_Array2, content, f"{path}/.zarray"), path)
    return None


def _version_2(said: _Array2, path: str) -> ArraySaid:
    packing = [*(said.filters or ()), *([said.compressor] if said.compressor else [])]
    codecs: list[Spec] = [(str(each.get("id")), dict(each)) for each in packing]
    array = ArraySaid(
        path=path,
        shape=said.shape,
        stored=said.chunks,
        data_type=str(said.dtype),
        codecs=((BYTES, {}), *codecs),
        fill=said.fill_value,
        order=said.order,
        prefix=f"{path}/",
        separator=said.dimension_separator,
    )
    return _checked(array)


def _version_3(said: _Array3, path: str) -> ArraySaid:
    where = f"{path}/zarr.json"
    names = said.chunk_grid.name, said.chunk_key_encoding.name, len(said.storage_transformers)
    if names not in (("regular", "default", 0), ("regular", "v2", 0)):
        raise SlideUnreadable(
            "The chunks of this OME-Zarr are not understood.",
            value=ascii(f"{names[0]}, {names[1]}, {names[2]} transformers"[:200]),
            accepted="a regular grid, keys by default or as in version 2, no storage transformers",
        )
    is_default = said.chunk_key_encoding.name == "default"
    separator = parsed(_Separator, said.chunk_key_encoding.spec[1], where).separator
    separator = separator or ("/" if is_default else ".")
    array = ArraySaid(
        path=path,
        shape=said.shape,
        stored=parsed(_Grid, said.chunk_grid.spec[1], where).chunk_shape,
        data_type=str(said.data_type),
        codecs=tuple(each.spec if isinstance(each, Named) else (each, {}) for each in said.codecs),
        fill=said.fill_value,
        order="C",
        prefix=f"{path}/c{separator}" if is_default else f"{path}/",
        separator=separator,
    )
    return _checked(array)


def _checked(array: ArraySaid) -> ArraySaid:
    shapes = array.shape, array.stored, array.chunk
    if len({len(shape) for shape in shapes}) > 1 or any(
        stored % chunk for stored, chunk in zip(array.stored, array.chunk, strict=False)
    ):
        raise SlideUnreadable(
            "The shapes of an array of this OME-Zarr and of its chunks do not agree.",
            value=ascii(f"{array.path}: {', '.join(map(str, shapes))}"[:200]),
        )
    return array
