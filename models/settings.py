"""Settings in files: frozen dataclasses that pydantic checks, each fault as one sentence, and what they state.

A class of settings is made by `settings`: an unknown key is a fault, and so is another type (a whole number does where
a number is asked for). `dataclasses.replace` checks again. Rules over several keys stand in `__post_init__` and raise
`ValueError` with the whole sentence.

Nothing here needs torch: the gateway reads model folders by it.
"""

import copy
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, field, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Final, TypeVar, dataclass_transform, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

T = TypeVar("T")
Tables = dict[str, Any]
# Field of the class → keys that stand beside its other fields in the file, and belong into that one.
Spread = Mapping[str, Sequence[str]]

_STRICT: Final = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
_NO_SPREAD: Final[Spread] = {}
_SHOWN: Final = 100
_UNKNOWN: Final = ("unexpected_keyword_argument", "extra_forbidden")
# pydantic's name of a fault → what is accepted, with the fault's own numbers.
_ACCEPTED: Final = {
    "bool_type": "true or false",
    "dataclass_type": "a table",
    "dict_type": "a table",
    "finite_number": "a finite number",
    "float_type": "a number",
    "greater_than": "above {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "less_than": "below {lt:g}",
    "less_than_equal": "at most {le:g}",
    "literal_error": "{expected}",
    "string_pattern_mismatch": "what matches {pattern}",
    "string_type": "text",
    "too_long": "{max_length} or fewer items",
    "tuple_type": "a list",
}


class SettingsError(ValueError):
    """A file of settings is not accepted; one line for each fault."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def settings(cls: type[T]) -> type[T]:
    """Make a class a frozen dataclass of settings; to make one of wrong values raises `SettingsError`."""
    made: Any = dataclass(frozen=True, config=_STRICT)(cls)
    init = made.__init__

    @wraps(init)
    def checked(self: T, *args: Any, **values: Any) -> None:
        try:
            init(self, *args, **values)
        except ValidationError as error:
            raise SettingsError(sentences(error, made, "")) from error

    made.__init__ = checked
    whole: type[T] = made
    return whole


def read_toml(path: Path, name: str) -> Tables:
    """Return the tables of a TOML file.

    Raises:
        FileNotFoundError: There is none.
        SettingsError: It is no TOML; the file is called `name`.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError([f"{name} is not TOML: {error}"]) from error


def check(schema: type[T], tables: Tables, file: str, spread: Spread = _NO_SPREAD) -> T:
    """Return settings from tables that a file holds.

    Args:
        schema: The class.
        tables: What is checked; lists stand for tuples, tables for classes of settings.
        file: Name of the file, for messages.
        spread: See `Spread`.

    Raises:
        SettingsError: A key is unknown or missing, or has a value that is not accepted.
    """
    known = [key for keys in spread.values() for key in keys]
    plain = {key: value for key, value in tables.items() if key not in known}
    if own := sorted(set(spread) & set(plain)):
        raise SettingsError([_sentence(file, own[0], f"is not known; known: {', '.join(_keys(schema, spread))}")])
    moved = {field: {key: tables[key] for key in keys if key in tables} for field, keys in spread.items()}
    # As JSON, in which a list is a list of any kind and a table any class; TOML's dates are text there.
    return check_json(schema, json.dumps(plain | moved, default=str), file, spread)


def check_json(schema: type[T], text: str | bytes, file: str, spread: Spread = _NO_SPREAD) -> T:
    """Return settings from the JSON text of a file; arguments and errors as for `check`."""
    try:
        return TypeAdapter(schema).validate_json(text)
    except ValidationError as error:
        raise SettingsError(sentences(error, schema, file, spread)) from error


def sentences(error: ValidationError, schema: type, file: str, spread: Spread = _NO_SPREAD) -> list[str]:
    """Return one sentence for each fault: file, key with dots, value, and what is accepted in its place.

    Args:
        error: What pydantic found.
        schema: The class that was to be made.
        file: Name of the file; empty for none.
        spread: See `Spread`.
    """
    return [_fault(dict(each), schema, file, spread) for each in error.errors(include_url=False)]


def placed(error: ValueError, place: str) -> SettingsError:
    """Return an error with `place` before each of its sentences."""
    return SettingsError([f"{place}: {line}" for line in str(error).splitlines()])


def overlay(base: Tables, over: Tables) -> Tables:
    """Return tables with others laid over them: a table into a table, and a table into *each* of a list of tables.

    Any other value takes the place of the one below it.
    """
    result = copy.deepcopy(base)
    for key, value in over.items():
        below = result.get(key)
        if isinstance(value, dict) and isinstance(below, list) and all(isinstance(one, dict) for one in below):
            result[key] = [overlay(one, value) for one in below]
        elif isinstance(value, dict):
            result[key] = overlay(below if isinstance(below, dict) else {}, value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def stated(value: Any) -> Any:
    """Return what settings say beyond their defaults, as plain values: a new option leaves old settings what they are.

    Digests are made of it.
    """
    if isinstance(value, dict):
        return {key: stated(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [stated(one) for one in value]
    if not is_dataclass(value):
        return value
    own = {each.name: getattr(value, each.name) for each in fields(value)}
    return {each.name: stated(own[each.name]) for each in fields(value) if own[each.name] != _default(each)}


def _default(each: Field[Any]) -> Any:
    return each.default if each.default_factory is MISSING else each.default_factory()


def _fault(each: dict[str, Any], schema: type, file: str, spread: Spread) -> str:
    kind, value, context = each["type"], each["input"], each.get("ctx", {})
    loc = each["loc"]
    if loc and isinstance(loc[0], int):  # a value that was given by its place
        loc = (fields(schema)[loc[0]].name, *loc[1:])
    key = ".".join(map(str, loc[1:] if loc and loc[0] in spread else loc))
    if kind in _UNKNOWN:
        known = _keys(_owner(schema, loc), {} if len(loc) > 1 else spread)
        return _sentence(file, key, f"is not known; known: {', '.join(known)}")
    if kind == "missing":
        return _sentence(file, key, "is missing")
    if kind == "value_error":
        return ": ".join(filter(None, (file, key, str(context["error"]))))
    if kind == "json_invalid":
        return f"{file} is not JSON: {context['error']}"
    accepted = _ACCEPTED[kind].format(**context) if kind in _ACCEPTED else each["msg"]
    return _sentence(file, key, f"is {_shown(value)}; accepted: {accepted}")


def _sentence(file: str, key: str, rest: str) -> str:
    return f"{': '.join(filter(None, (file, key)))} {rest}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _keys(schema: Any, spread: Spread) -> list[str]:
    own = [each.name for each in fields(schema) if each.name not in spread]
    return sorted([*own, *(key for keys in spread.values() for key in keys)])


def _owner(schema: Any, loc: Sequence[int | str]) -> Any:
    """Return the class of settings that a key belongs to, from the place of the key."""
    for part in loc[:-1]:
        schema = _inner(schema, part)
    return schema


def _inner(schema: Any, part: int | str) -> Any:
    if is_dataclass(schema):
        hints: dict[str, Any] = {each.name: each.type for each in fields(schema)}
        return _plain(hints[str(part)])
    return _plain(get_args(schema)[-1 if get_origin(schema) is dict else 0])


def _plain(hint: Any) -> Any:
    """Return the one type within `Annotated[…]`, or beside `None`."""
    while hasattr(hint, "__metadata__") or type(None) in get_args(hint):
        hint = next(one for one in get_args(hint) if one is not type(None))
    return hint
