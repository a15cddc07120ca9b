"""JSON that costs more than it can be worth, and what else a route does not take, is refused by name, and quickly."""

import json
import threading
import time

import pytest
from attack_fixtures import Attacked, get, post

pytestmark = [pytest.mark.process, pytest.mark.slow]

MANY = b"[" + b",".join([b"[]"] * 450_000) + b"]"
PAUSE_S = 1.5
ATTACKS = {
    "region": (
        "/v1/roi/check",
        b'{"roi": {"type": "Polygon", "coordinates": [%s]}}' % MANY,
    ),
    "slides of a batch": ("/v1/batches", b'{"slide_ids": %s}' % MANY),
    "outputs": ("/v1/jobs", b'{"slide_id": "a", "outputs": %s}' % MANY),
    "members": ("/v1/jobs", b"{%s}" % b",".join(b'"k%d": 1' % number for number in range(200_000))),
    "webhook": ("/v1/jobs", b'{"webhook": {%s}}' % b",".join(b'"k%d": 1' % number for number in range(50_000))),
    "depth": ("/v1/jobs", b'{"slide_id": %s%s}' % (b"[" * 100_000, b"]" * 100_000)),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_costly_json_is_refused_by_name_and_stops_nobody(attacked: Attacked, name: str) -> None:
    path, body = ATTACKS[name]
    attacked.ask(post("/v1/links", b'{"path": "/v1/jobs"}'))  # the first request builds what others use
    answers: list[tuple[int, dict[str, dict[str, str]]]] = []
    threads = [
        threading.Thread(target=lambda: answers.append(attacked.ask(post(path, body), "127.0.0.9"))) for _ in range(4)
    ]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    longest = attacked.seconds_of_a_request()
    while any(thread.is_alive() for thread in threads):
        longest = max(longest, attacked.seconds_of_a_request())
    assert longest < PAUSE_S
    assert time.monotonic() - started < 4 * PAUSE_S
    assert [(status, answer["error"]["code"]) for status, answer in answers] == [(422, "body_too_complex")] * 4
    assert all(answer["error"]["value"] and "at most" in answer["error"]["accepted"] for _, answer in answers)


def test_as_many_wrong_values_as_may_be_are_told_by_the_first(attacked: Attacked) -> None:
    started = time.monotonic()
    status, answer = attacked.ask(post("/v1/batches", json.dumps({"slide_ids": [[]] * 70_000}).encode()))
    assert (status, answer["error"]["code"]) == (422, "invalid_request")
    assert answer["error"]["message"].startswith("slide_ids.0: ")
    assert time.monotonic() - started < PAUSE_S


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"path": "\\ud800"}', "\\ud800"),
        (b'{"path": "\\udc00\\ud800"}', "\\udc00"),
        (b'{"\\uDFFF": 1}', "\\uDFFF"),
        (b'{"path": "\xff"}', "byte 10"),
        ('{"path": "/v1/jobs"}'.encode("utf-16"), "byte 0"),
        ('{"path": "/v1/jobs"}'.encode("utf-16-le"), None),
        ('{"path": "/v1/jobs"}'.encode("utf-8-sig"), None),
    ],
)
def test_what_is_no_text_is_told_with_its_place(attacked: Attacked, body: bytes, value: str | None) -> None:
    status, answer = attacked.ask(post("/v1/links", body))
    assert (status, answer["error"]["code"], answer["error"]["value"]) == (422, "invalid_request", value)
    assert answer["error"]["accepted"]


def test_a_whole_pair_and_an_escaped_backslash_are_text(attacked: Attacked) -> None:
    for name in (b"\\ud83d\\ude00", b"\\\\ud800"):
        members = b'"type": "Feature", "properties": {"name": "%s"}' % name
        square = b'{"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9], [0, 0]]]}'
        assert attacked.ask(post("/v1/roi/check", b'{"roi": {%s, "geometry": %s}}' % (members, square)))[0] == 200


@pytest.mark.parametrize("given", ["text/plain", "", "multipart/form-data; boundary=x", "application/jsonp"])
def test_another_content_type_is_refused_by_name(attacked: Attacked, given: str) -> None:
    status, answer = attacked.ask(post("/v1/links", b'{"path": "/v1/jobs"}', content_type=given))
    assert (status, answer["error"]["code"]) == (415, "body_unsupported")
    assert answer["error"]["value"] == (given.partition(";")[0] or "no Content-Type")
    assert "application/json" in answer["error"]["accepted"]


@pytest.mark.parametrize("given", ["application/json", "application/json; charset=utf-8", "application/geo+json"])
def test_json_by_any_of_its_names_is_taken(attacked: Attacked, given: str) -> None:
    assert attacked.ask(post("/v1/links", b'{"path": "/v1/jobs"}', content_type=given))[0] == 200


def test_an_unknown_parameter_is_refused_with_those_that_are_known(attacked: Attacked) -> None:
    status, answer = attacked.ask(get("/v1/jobs?limit=1&sort=age"))
    assert (status, answer["error"]["code"], answer["error"]["value"]) == (422, "parameter_unknown", "sort")
    known = ["limit", "cursor", "state", "slide", "model", "name", "sha256", "label", "warning", "since", "before"]
    assert sorted(answer["error"]["accepted"].split(", ")) == sorted(known)
    assert attacked.ask(get("/v1/models?limit=1"))[1]["error"]["accepted"] == "none"


def test_the_query_of_a_signed_link_is_no_unknown_parameter(attacked: Attacked) -> None:
    assert attacked.ask(get("/v1/jobs?expires=1&tenant=a&signature=0&prefix=x"))[0] == 200
