"""What is told of JSON from its bytes is what a parser finds in it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.web import json_shape
from server.web.json_shape import DEPTH_MAX, KEYS_MAX, VALUES_MAX, check_json
from workers.core.errors.base import LDiffusionError, RequestInvalid
from workers.core.errors.door import BodyTooComplex

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(LEAVES, lambda each: st.lists(each, max_size=4) | st.dictionaries(st.text(), each, max_size=4))


def shape_of(value: Any) -> tuple[int, int]:
    """Values and depth, by looking at each."""
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else None
    if inner is None:
        return 1, 0
    shapes = [shape_of(each) for each in inner]
    return 1 + sum(count for count, _ in shapes), 1 + max((depth for _, depth in shapes), default=0)


def refusal_of(body: bytes) -> LDiffusionError | None:
    try:
        check_json(body)
    except LDiffusionError as error:
        return error
    return None


def is_refused(body: bytes) -> bool:
    return isinstance(refusal_of(body), BodyTooComplex)


@given(VALUES, st.booleans(), st.integers(0, 3), st.integers(0, 30))
def test_the_limits_are_of_what_a_parser_finds(value: Any, is_ascii: bool, deep: int, many: int) -> None:
    body = json.dumps(value, ensure_ascii=is_ascii, indent=1).encode()
    count, depth = shape_of(value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_shape, "DEPTH_MAX", deep)
        assert is_refused(body) == (depth > deep)
        patch.setattr(json_shape, "DEPTH_MAX", 1000)
        patch.setattr(json_shape, "VALUES_MAX", many)
        empty = body.count(b"[]") + body.count(b"{}")  # these count as one value more, at most
        assert is_refused(body) or count <= many
        assert not is_refused(body) or count + empty > many


@given(st.text(st.characters(exclude_categories=())), st.text(max_size=3))
def test_half_a_pair_is_found_wherever_it_is(text: str, other: str) -> None:
    body = json.dumps({other: ["\\", text]}).encode()
    try:
        json.dumps([json.loads(body)], ensure_ascii=False).encode()
        is_text = True
    except UnicodeEncodeError:
        is_text = False
    assert isinstance(refusal_of(body), RequestInvalid) == (not is_text)


@given(st.binary(max_size=200))
def test_any_bytes_are_taken_or_refused_by_name(body: bytes) -> None:
    error = refusal_of(body)
    assert error is None or error.accepted


def test_what_a_job_may_hold_is_within_the_limits() -> None:
    ring = [[number * 1000.25, number % 7, 0.0] for number in range(20_000)]
    check_json(json.dumps({"slide_id": "a", "roi": {"type": "Polygon", "coordinates": [ring]}}).encode())
    check_json(json.dumps({"slide_ids": ["0" * 32] * 1000}).encode())


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1), f"{DEPTH_MAX + 1} levels"),
        (b"[" + b"1," * VALUES_MAX + b"1]", VALUES_MAX + 2),
        (json.dumps({str(number): 1 for number in range(KEYS_MAX + 1)}).encode(), KEYS_MAX + 1),
    ],
)
def test_a_limit_names_what_was_given(body: bytes, value: object) -> None:
    with pytest.raises(BodyTooComplex) as caught:
        check_json(body)
    assert caught.value.value == value
